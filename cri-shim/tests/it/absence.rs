//! auraed goes away and comes back.

use cri_api::v1 as cri;
use tonic::Code;

use crate::node::{Cri, FOREVER, container_config, on_own_node, sandbox_config};

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
            let config = sandbox_config("drain");
            let sandbox = cri.run_sandbox(&config).await;
            let container = cri
                .run_container(&sandbox, &container_config("main", FOREVER), &config)
                .await;
            let programs = node.programs();
            let (_, pid) = programs.iter().find(|(name, _)| *name == "cri-shim").unwrap();
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
            let mut other = cri.clone();
            let stop = async {
                let begun = "until test -e /begun; do sleep 0.02; done";
                other.exec(&container, &["sh", "-c", begun], 60).await.unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
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
