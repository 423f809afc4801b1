//! What is made of a container before it is started, and what becomes of that.

use super::{container, sandbox};
use crate::machine::PATIENCE;
use crate::node::Node;
use auraed_api::runtime::v0 as api;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl Node {
    fn files_of(&self, container: &str) -> PathBuf {
        self.machine
            .path("state/sandboxes/pod/containers")
            .join(container)
    }
}

async fn until_it_is_there(path: &Path) {
    let waiting = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "{} does not come", path.display());
}

fn with_mount(id: &str, node: &Node) -> api::ContainerSpec {
    let mut spec = container(id, "pod", "cat /data/file /etc/hostname; ls -A /etc /");
    let volume = node.machine.path("volume");
    fs_err::create_dir_all(&volume).unwrap();
    fs_err::write(volume.join("file"), "content\n").unwrap();
    spec.mounts.push(api::ContainerMount {
        container_path: "/data".into(),
        host_path: volume.display().to_string(),
        ..api::ContainerMount::default()
    });
    spec
}

#[tokio::test]
async fn what_a_start_needs_on_the_disk_is_made_before_it() {
    let Some(mut node) = Node::new("what_a_start_needs_on_the_disk_is_made_before_it").await else {
        return;
    };
    let spec = api::SandboxSpec {
        hostname: "box".into(),
        ..sandbox("pod")
    };
    node.make(spec).await.unwrap();
    let mut outputs = Vec::new();
    for (id, killed) in [("started", false), ("again", true)] {
        let mut spec = with_mount(id, &node);
        spec.log_path = node.log_path(id).display().to_string();
        node.make_container(spec).await.unwrap();
        until_it_is_there(&node.files_of(id).join("upper/data")).await;
        // What every container has mounted is nothing of its own.
        for name in ["etc", "dev", "proc", "sys"] {
            assert!(!node.files_of(id).join("upper").join(name).exists(), "{name}");
        }
        if killed {
            node.machine.kill().await;
            node.restart().await;
        }
        node.start_container(id).await.unwrap();
        let status = node.until_exited(id).await;
        assert_eq!(status.exit_code, 0, "{status:?}");
        outputs.push(node.logged(id));
    }
    assert_eq!(outputs[0][..2], ["content", "box"]);
    for name in ["hosts", "resolv.conf", "hostname", "proc", "dev", "sys"] {
        assert!(outputs[0].iter().any(|line| line == name), "{name}: {outputs:?}");
    }
    assert_eq!(outputs[0], outputs[1]);
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn what_was_made_ahead_goes_with_its_container() {
    let Some(node) = Node::new("what_was_made_ahead_goes_with_its_container").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    for number in 0..10 {
        let id = format!("main-{number}");
        node.make_container(with_mount(&id, &node)).await.unwrap();
        // While it is being made, or after.
        if number % 2 == 0 {
            until_it_is_there(&node.files_of(&id).join("upper/data")).await;
        }
        node.remove_container(&id).await;
        assert!(!node.files_of(&id).exists(), "{id}");
    }
    node.make_container(with_mount("left", &node)).await.unwrap();
    node.end("pod").await;
    node.discard("pod").await;
    assert!(!node.machine.path("state/sandboxes/pod").exists());
    node.finish().await;
}
