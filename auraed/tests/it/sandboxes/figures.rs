//! What containers use, and limits that change under them.

use super::{container, sandbox};
use crate::node::Node;
use auraed_api::runtime::v0 as api;
use std::time::Duration;
use tonic::Code;

impl Node {
    async fn container_stats(&self, id: &str) -> Vec<api::ContainerStats> {
        let request = api::ListContainerStatsRequest {
            id: id.into(),
            ..api::ListContainerStatsRequest::default()
        };
        let stats = self.client.containers().list_container_stats(request).await;
        stats.unwrap().into_inner().stats
    }
}

#[tokio::test]
async fn what_containers_use_is_told() {
    let Some(node) = Node::new("what_containers_use_is_told").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    let script = "head -c 3000000 /dev/zero > /tmp/file; echo done; while :; do :; done";
    let mut spec = container("busy", "pod", script);
    spec.log_path = node.log_path("busy.log").display().to_string();
    node.launch(spec).await;
    node.make_container(container("idle", "pod", "true"))
        .await
        .unwrap();
    node.machine.until_file_contains("sandbox-logs", "done").await;
    let request = api::ListContainersRequest::default();
    let listed = node.client.containers().list_containers(request).await.unwrap();
    for listed in listed.into_inner().containers {
        // Who it is, and no more of its spec.
        let spec = listed.spec.unwrap();
        let whole = node.get_container(&spec.id).await.unwrap();
        let known = whole.spec.unwrap();
        assert_eq!((&spec.name, &spec.sandbox), (&known.name, &known.sandbox));
        assert_eq!((listed.state, listed.image_id), (whole.state, whole.image_id));
        assert!(!known.command.is_empty() && spec.command.is_empty() && spec.security.is_none());
    }
    let first = node.container_stats("").await;
    assert_eq!(first.len(), 1, "only what runs is looked at: {first:?}");
    let cgroup = first[0].cgroup.unwrap();
    assert!(
        cgroup.cpu_usage_nanoseconds > 0 && cgroup.memory_usage_bytes > 0,
        "{cgroup:?}"
    );
    assert_eq!(cgroup.cpu_usage_nanocores, 0);
    let layer = first[0].writable_layer.clone().unwrap();
    assert!(
        layer.used_bytes >= 3_000_000 && layer.inodes_used >= 2,
        "{layer:?}"
    );
    assert!(std::path::Path::new(&layer.mountpoint).is_dir());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second = node.container_stats("busy").await[0].cgroup.unwrap();
    assert!(second.cpu_usage_nanocores > 1_000_000, "{second:?}");

    let request = api::ListSandboxStatsRequest::default();
    let stats = node.client.sandboxes().list_sandbox_stats(request).await.unwrap();
    let stats = stats.into_inner().stats.remove(0);
    assert_eq!(stats.interfaces.len(), 1, "{stats:?}");
    assert!(stats.processes >= 2 && stats.containers.len() == 1, "{stats:?}");
    assert!(stats.cgroup.unwrap().cpu_usage_nanoseconds >= cgroup.cpu_usage_nanoseconds);
    let idle = node.container_stats("idle").await;
    assert_eq!(idle[0].cgroup, None);
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn limits_change_under_what_runs() {
    let Some(mut node) = Node::new("limits_change_under_what_runs").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    let mut spec = container("main", "pod", "exec sleep 1000");
    spec.resources = Some(api::LinuxResources {
        memory_bytes: Some(64 << 20),
        cpu_shares: Some(512),
        ..api::LinuxResources::default()
    });
    node.launch(spec.clone()).await;
    let memory = |bytes| api::LinuxResources {
        memory_bytes: Some(bytes),
        ..api::LinuxResources::default()
    };
    let update = |id: &str, bytes| api::UpdateContainerRequest {
        id: id.into(),
        resources: Some(memory(bytes)),
    };
    let client = node.client.clone();
    client
        .containers()
        .update_container(update("main", 128 << 20))
        .await
        .unwrap();
    let status = node.get_container("main").await.unwrap();
    let resources = status.resources.unwrap();
    assert_eq!(
        (resources.memory_bytes, resources.cpu_shares),
        (Some(128 << 20), Some(512))
    );
    assert_eq!(
        status.spec.unwrap().resources,
        spec.resources,
        "it is told as it was given"
    );
    let stats = node.container_stats("main").await;
    assert_eq!(stats[0].cgroup.unwrap().memory_limit_bytes, Some(128 << 20));
    let request = api::UpdateSandboxRequest {
        id: "pod".into(),
        resources: Some(memory(256 << 20)),
    };
    client.sandboxes().update_sandbox(request).await.unwrap();

    node.machine.kill().await;
    node.restart().await;
    let client = node.client.clone();
    let (pod, containers) = node.get_sandbox("pod").await.unwrap();
    assert_eq!(
        containers[0].resources.as_ref().unwrap().memory_bytes,
        Some(128 << 20)
    );
    assert_eq!(pod.spec.unwrap().resources, Some(memory(256 << 20)));
    // The caller still asks for the one that it made.
    assert_eq!(node.make(sandbox("pod")).await.unwrap().pid, pod.pid);

    node.stop_container("main", 0).await;
    let refused = client
        .containers()
        .update_container(update("main", 1 << 20))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    let nothing = api::UpdateContainerRequest {
        id: "main".into(),
        resources: None,
    };
    let refused = client.containers().update_container(nothing).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let reopened = client
        .containers()
        .reopen_container_log(api::ReopenContainerLogRequest { id: "main".into() })
        .await;
    assert_eq!(reopened.unwrap_err().code(), Code::FailedPrecondition);
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn limits_change_before_the_start_as_after_it() {
    let Some(node) = Node::new("limits_change_before_the_start_as_after_it").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    let mut spec = container("main", "pod", "exec sleep 1000");
    spec.resources = Some(api::LinuxResources {
        memory_bytes: Some(64 << 20),
        memory_swap_bytes: Some(64 << 20),
        oom_score_adj: Some(500),
        ..api::LinuxResources::default()
    });
    node.make_container(spec).await.unwrap();
    let update = async |change: api::LinuxResources| {
        let request = api::UpdateContainerRequest {
            id: "main".into(),
            resources: Some(change),
        };
        node.client.containers().update_container(request).await
    };
    let told = async || node.get_container("main").await.unwrap().resources.unwrap();
    let less = api::LinuxResources {
        memory_swap_bytes: Some(32 << 20),
        ..api::LinuxResources::default()
    };
    // Memory and swap together would be less than memory.
    assert_eq!(
        update(less.clone()).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(told().await.memory_swap_bytes, Some(64 << 20));
    let more = api::LinuxResources {
        memory_bytes: Some(128 << 20),
        oom_score_adj: Some(600),
        // As a caller says that it has no wish.
        cpu_quota_us: Some(0),
        cpuset_cpus: Some(String::new()),
        ..api::LinuxResources::default()
    };
    update(more.clone()).await.unwrap();
    node.start_container("main").await.unwrap();
    let running = told().await;
    assert_eq!(running.memory_bytes, Some(128 << 20));
    assert_eq!((running.oom_score_adj, running.cpu_quota_us), (Some(600), None));
    assert_eq!(running.cpuset_cpus, None);
    let pid = node.get_container("main").await.unwrap().pid;
    let score = || fs_err::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score(), "600\n");
    assert_eq!(update(less).await.unwrap_err().code(), Code::InvalidArgument);
    // What is told is what is in force.
    let other = api::LinuxResources {
        oom_score_adj: Some(700),
        ..more
    };
    update(other).await.unwrap();
    assert_eq!(
        (told().await.oom_score_adj, score()),
        (Some(600), "600\n".to_owned())
    );
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn a_log_that_was_moved_away_begins_anew() {
    let Some(node) = Node::new("a_log_that_was_moved_away_begins_anew").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    let script = "echo before; until [ -e /tmp/go ]; do sleep 0.02; done; echo after; exec sleep 1000";
    let mut spec = container("main", "pod", script);
    spec.log_path = node.log_path("main.log").display().to_string();
    let shared = node.machine.path("shared");
    spec.mounts.push(api::ContainerMount {
        container_path: "/tmp".into(),
        host_path: shared.display().to_string(),
        ..api::ContainerMount::default()
    });
    node.launch(spec).await;
    node.machine.until_file_contains("sandbox-logs", "before").await;
    fs_err::rename(node.log_path("main.log"), node.log_path("main.log.old")).unwrap();
    let request = api::ReopenContainerLogRequest { id: "main".into() };
    node.client
        .containers()
        .reopen_container_log(request)
        .await
        .unwrap();
    fs_err::write(shared.join("go"), "").unwrap();
    node.machine
        .until_file_contains("sandbox-logs/main.log", "after")
        .await;
    assert_eq!(node.logged("main.log"), ["after"]);
    assert_eq!(node.logged("main.log.old"), ["before"]);
    node.discard("pod").await;
    node.finish().await;
}
