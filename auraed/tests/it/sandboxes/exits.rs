//! How containers end, and how they are ended.

use super::{container, sandbox};
use crate::node::Node;
use api::ContainerState;
use auraed_api::runtime::v0 as api;
use std::time::{Duration, Instant};
use tonic::Code;

#[tokio::test]
async fn reasons_tell_how_a_container_ended() {
    let Some(node) = Node::new("reasons_tell_how_a_container_ended").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    for (id, script, code, reason) in [
        ("well", "exit 0", 0, "Completed"),
        ("badly", "exit 3", 3, "Error"),
        ("killed", "kill -9 $$", 137, "Error"),
    ] {
        node.launch(container(id, "pod", script)).await;
        let status = node.until_exited(id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (code, reason), "{id}");
        assert!(status.started_at.unwrap().seconds <= status.finished_at.unwrap().seconds);
    }
    let mut greedy = container(
        "greedy",
        "pod",
        "exec busybox awk 'BEGIN { s = \"a\"; while (1) s = s s }'",
    );
    greedy.resources = Some(api::LinuxResources {
        memory_bytes: Some(24 << 20),
        memory_swap_bytes: Some(24 << 20),
        ..api::LinuxResources::default()
    });
    node.launch(greedy).await;
    let status = node.until_exited("greedy").await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));

    let mut missing = container("missing", "pod", "");
    missing.command = vec!["/no/such/program".into()];
    node.make_container(missing).await.unwrap();
    let error = node.start_container("missing").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    assert!(error.message().contains("/no/such/program"), "{error:?}");
    let status = node.get_container("missing").await.unwrap();
    assert_eq!(status.state(), ContainerState::Exited);
    assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
    assert!(status.message.contains("/no/such/program"), "{status:?}");
    assert_eq!(status.started_at, None);
    node.stop_container("missing", 5).await;
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn a_stop_gives_a_container_time_and_its_own_signal() {
    let Some(node) = Node::new("a_stop_gives_a_container_time_and_its_own_signal").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    let polite = "trap 'exit 4' USR1; echo ready; while :; do sleep 0.02; done";
    let mut spec = container("polite", "pod", polite);
    spec.stop_signal = "SIGUSR1".into();
    spec.log_path = node.log_path("polite.log").display().to_string();
    node.launch(spec).await;
    node.machine.until_file_contains("sandbox-logs", "ready").await;
    assert_eq!(node.get_container("polite").await.unwrap().stop_signal, "SIGUSR1");
    node.stop_container("polite", 30).await;
    let status = node.get_container("polite").await.unwrap();
    assert_eq!((status.exit_code, status.reason.as_str()), (4, "Error"));

    let stubborn = "trap '' TERM; echo deaf; while :; do sleep 0.02; done";
    let mut spec = container("stubborn", "pod", stubborn);
    spec.log_path = node.log_path("stubborn.log").display().to_string();
    node.launch(spec).await;
    node.machine.until_file_contains("sandbox-logs", "deaf").await;
    let begun = Instant::now();
    node.stop_container("stubborn", 1).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(node.get_container("stubborn").await.unwrap().exit_code, 137);
    // A container that was never started has nothing to end.
    node.make_container(container("idle", "pod", "true"))
        .await
        .unwrap();
    node.stop_container("idle", 30).await;
    assert_eq!(
        node.get_container("idle").await.unwrap().state(),
        ContainerState::Created
    );
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn a_stop_that_waits_is_in_nobodys_way() {
    let Some(node) = Node::new("a_stop_that_waits_is_in_nobodys_way").await else {
        return;
    };
    let stubborn = |id: &str, sandbox: &str| {
        let script = "trap '' TERM; echo deaf; while :; do sleep 0.02; done";
        let mut spec = container(id, sandbox, script);
        spec.log_path = node.log_path(&format!("{id}.log")).display().to_string();
        spec
    };
    for (sandbox_id, containers) in [("one", ["a", "b"]), ("two", ["c", "d"]), ("three", ["e", "f"])] {
        node.make(sandbox(sandbox_id)).await.unwrap();
        for id in containers {
            node.launch(stubborn(id, sandbox_id)).await;
            let log = format!("sandbox-logs/{id}.log");
            node.machine.until_file_contains(&log, "deaf").await;
        }
    }
    let begun = Instant::now();
    let ending = async {
        // Both signals have been sent by then, or will find nothing.
        tokio::time::sleep(Duration::from_millis(50)).await;
        node.discard("one").await;
        node.end("two").await;
        node.remove_container("e").await;
        // Another container of the same sandbox can be made and ended meanwhile.
        node.launch(container("quick", "three", "exec sleep 1000")).await;
        node.stop_container("quick", 0).await;
    };
    tokio::join!(
        node.stop_container("a", 600),
        node.stop_container("b", 600),
        node.stop_container("c", 600),
        node.stop_container("e", 600),
        ending
    );
    assert!(begun.elapsed() < Duration::from_secs(300));
    // Those of one sandbox end side by side: one that has little time does not wait for one that has much.
    node.launch(stubborn("g", "three")).await;
    node.machine
        .until_file_contains("sandbox-logs/g.log", "deaf")
        .await;
    let patient = tokio::spawn({
        let containers = node.client.containers();
        let request = api::StopContainerRequest {
            id: "f".into(),
            grace_seconds: 600,
        };
        async move { { containers }.stop_container(request).await }
    });
    node.stop_container("g", 1).await;
    assert!(!patient.is_finished());
    let still = node.get_container("f").await.unwrap();
    assert_eq!(still.state(), ContainerState::Running);
    node.stop_container("f", 0).await;
    patient.await.unwrap().unwrap();
    node.discard("two").await;
    node.discard("three").await;
    node.finish().await;
}

#[tokio::test]
async fn a_stop_beside_the_end_of_the_sandbox_returns_when_the_container_has_ended() {
    let name = "a_stop_beside_the_end_of_the_sandbox_returns_when_the_container_has_ended";
    let Some(node) = Node::new(name).await else {
        return;
    };
    for round in 0..20 {
        let (pod, main) = (format!("pod-{round}"), format!("main-{round}"));
        node.make(sandbox(&pod)).await.unwrap();
        node.launch(container(&main, &pod, "exec sleep 1000")).await;
        let stopping = async {
            node.stop_container(&main, 0).await;
            node.get_container(&main).await.unwrap().state()
        };
        let (state, ()) = tokio::join!(stopping, node.end(&pod));
        assert_eq!(state, ContainerState::Exited, "{round}");
        node.discard(&pod).await;
    }
    node.finish().await;
}
