//! auraed goes away and comes back.

use std::time::Duration;

use cri_api::v1 as cri;
use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;

use crate::node::{Cri, FOREVER, PATIENT, container_config, on_own_node, sandbox_config};

impl Cri {
    async fn ready(&mut self) -> bool {
        let answer = self.runtime.status(cri::StatusRequest::default()).await.unwrap();
        let conditions = answer.into_inner().status.unwrap().conditions;
        conditions.iter().all(|condition| condition.status)
    }
}

#[test]
fn the_shim_outlives_auraed_and_finds_it_again() {
    on_own_node(
        "the_shim_outlives_auraed_and_finds_it_again",
        "absence",
        async |node, mut cri| {
            let config = sandbox_config("absence");
            let sandbox = cri.run_sandbox(&config).await;
            let container = cri
                .run_container(&sandbox, &container_config("main", FOREVER), &config)
                .await;
            assert!(cri.ready().await);
            node.kill_auraed();
            assert!(!cri.ready().await);
            let status = cri.container_status(&container).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            assert!(status.message().contains("aurae.sock"), "{status:?}");
            node.start_auraed().unwrap();
            assert!(cri.ready().await);
            let status = cri.container_status(&container).await.unwrap().status.unwrap();
            assert_eq!(status.state(), cri::ContainerState::ContainerRunning);
            assert_eq!(cri.run_sandbox(&config).await, sandbox);
            cri.remove_sandbox(&sandbox).await;
        },
    );
}

#[test]
fn calls_under_way_end_before_the_shim_does() {
    on_own_node(
        "calls_under_way_end_before_the_shim_does",
        "drain",
        async |node, mut cri| {
            node.kill_shim();
            node.start_shim_with(&PATIENT).unwrap();
            let config = sandbox_config("drain");
            let sandbox = cri.run_sandbox(&config).await;
            let container = cri
                .run_container(&sandbox, &container_config("main", FOREVER), &config)
                .await;
            let programs = node.programs();
            let (_, pid) = programs.iter().find(|(name, _)| *name == "cri-shim").unwrap();
            let pid = Pid::from_raw(pid.cast_signed()).unwrap();
            let mut other = cri.clone();
            let stop = async {
                let begun = "until test -e /begun; do sleep 0.02; done";
                other.exec(&container, &["sh", "-c", begun], 60).await.unwrap();
                kill_process(pid, Signal::TERM).unwrap();
            };
            let slow = cri.exec(&container, &["sh", "-c", "echo > /begun; sleep 1; echo done"], 0);
            let (done, ()) = tokio::join!(slow, stop);
            assert_eq!(done.unwrap().stdout, b"done\n");
            node.kill_shim();
            node.start_shim().unwrap();
            cri.remove_sandbox(&sandbox).await;
        },
    );
}

#[test]
fn a_restart_that_nobody_saw_is_no_error() {
    on_own_node(
        "a_restart_that_nobody_saw_is_no_error",
        "unseen",
        async |node, mut cri| {
            let config = sandbox_config("unseen");
            let sandbox = cri.run_sandbox(&config).await;
            let container = cri
                .run_container(&sandbox, &container_config("main", FOREVER), &config)
                .await;
            for _ in 0..3 {
                node.kill_auraed();
                node.start_auraed().unwrap();
                let status = cri.container_status(&container).await.unwrap().status.unwrap();
                assert_eq!(status.state(), cri::ContainerState::ContainerRunning);
                // Over the other connection.
                let done = cri.exec(&container, &["true"], 0).await.unwrap();
                assert_eq!(done.exit_code, 0);
            }
            cri.remove_sandbox(&sandbox).await;
        },
    );
}

#[test]
fn a_daemon_that_stands_still_keeps_nobody_longer_than_he_wants() {
    on_own_node(
        "a_daemon_that_stands_still_keeps_nobody_longer_than_he_wants",
        "still",
        async |node, mut cri| {
            let programs = node.programs();
            let (_, pid) = programs.iter().find(|(name, _)| *name == "auraed").unwrap();
            let auraed = Pid::from_raw(pid.cast_signed()).unwrap();
            assert!(cri.ready().await);
            kill_process(auraed, Signal::STOP).unwrap();
            let mut request = tonic::Request::new(cri::ListContainersRequest::default());
            request.set_timeout(Duration::from_millis(300));
            let late = cri.runtime.list_containers(request).await.unwrap_err();
            kill_process(auraed, Signal::CONT).unwrap();
            assert!(
                matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled),
                "{late:?}"
            );
            assert!(cri.ready().await);
        },
    );
}
