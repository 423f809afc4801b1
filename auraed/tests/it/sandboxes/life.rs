//! A sandbox's and a container's life, from their making to their removal.

use super::{container, sandbox};
use crate::node::Node;
use api::{ContainerState, RuntimeEventKind, SandboxState};
use auraed_api::runtime::v0 as api;
use tonic::Code;

#[tokio::test]
async fn a_container_lives_in_its_sandbox() {
    let Some(node) = Node::new("a_container_lives_in_its_sandbox").await else {
        return;
    };
    let made = node.make(sandbox("pod")).await.unwrap();
    assert_eq!(made.state(), SandboxState::Ready);
    assert_eq!(made.addresses.len(), 1, "{made:?}");
    assert!(made.pid != 0 && made.created_at.is_some());

    let mut spec = container("main", "pod", "echo hello; hostname; exec sleep 1000");
    spec.log_path = node.log_path("main.log").display().to_string();
    node.make_container(spec).await.unwrap();
    let created = node.get_container("main").await.unwrap();
    assert_eq!(created.state(), ContainerState::Created);
    assert_eq!((created.started_at, created.pid), (None, 0));
    assert_eq!(created.stop_signal, "SIGTERM");
    assert!(created.image_id.starts_with("sha256:"), "{created:?}");

    node.start_container("main").await.unwrap();
    let running = node.get_container("main").await.unwrap();
    assert_eq!(running.state(), ContainerState::Running);
    assert!(running.started_at.is_some() && running.pid != 0, "{running:?}");
    assert_eq!(running.user.unwrap().uid, 0);
    node.machine.until_file_contains("sandbox-logs", "hello").await;

    node.stop_container("main", 0).await;
    let exited = node.get_container("main").await.unwrap();
    assert_eq!(exited.state(), ContainerState::Exited);
    assert_eq!((exited.exit_code, exited.reason.as_str()), (137, "Error"));
    assert_eq!((exited.started_at, exited.pid), (running.started_at, 0));
    assert!(exited.finished_at.is_some());
    assert_eq!(node.logged("main.log")[0], "hello");

    node.remove_container("main").await;
    node.remove_container("main").await;
    node.stop_container("main", 1).await;
    assert_eq!(
        node.get_container("main").await.unwrap_err().code(),
        Code::NotFound
    );

    node.end("pod").await;
    let (ended, containers) = node.get_sandbox("pod").await.unwrap();
    assert_eq!(ended.state(), SandboxState::Stopped);
    assert_eq!((ended.pid, ended.addresses.len(), containers.len()), (0, 0, 0));
    node.end("pod").await;
    node.discard("pod").await;
    node.discard("pod").await;
    node.end("pod").await;
    assert_eq!(node.get_sandbox("pod").await.unwrap_err().code(), Code::NotFound);
    node.finish().await;
}

#[tokio::test]
async fn everything_that_happens_is_told_in_order() {
    let Some(node) = Node::new("everything_that_happens_is_told_in_order").await else {
        return;
    };
    let mut events = node.events().await;
    node.make(sandbox("pod")).await.unwrap();
    node.launch(container("short", "pod", "exit 3")).await;
    node.until_exited("short").await;
    node.remove_container("short").await;
    node.launch(container("long", "pod", "exec sleep 1000")).await;
    node.discard("pod").await;
    use RuntimeEventKind::{Created, Removed, Started, Stopped};
    for (kind, container) in [
        (Created, ""),
        (Started, ""),
        (Created, "short"),
        (Started, "short"),
        (Stopped, "short"),
        (Removed, "short"),
        (Created, "long"),
        (Started, "long"),
        (Stopped, "long"),
        (Stopped, ""),
        (Removed, "long"),
        (Removed, ""),
    ] {
        assert_eq!(events.next().await, (kind, container.to_owned()));
    }
    node.finish().await;
}
