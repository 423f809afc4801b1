//! What becomes of sandboxes when something of them, or of the daemon, is killed.

use super::{container, sandbox};
use crate::node::Node;
use api::{ContainerState, RuntimeEventKind, SandboxState};
use auraed_api::runtime::v0 as api;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;
use tonic::Code;

fn kill_init(status: &api::SandboxStatus) {
    kill_process(Pid::from_raw(status.pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

/// A container whose environment says `hush`.
fn secretive(id: &str, sandbox: &str) -> api::ContainerSpec {
    let mut spec = container(id, sandbox, "echo $SECRET; exec sleep 1000");
    spec.env.push(api::KeyValue {
        name: "SECRET".into(),
        value: "hush-hush".into(),
    });
    spec
}

#[tokio::test]
async fn sandboxes_outlive_the_daemon() {
    let Some(mut node) = Node::new("sandboxes_outlive_the_daemon").await else {
        return;
    };
    let made = node.make(sandbox("pod")).await.unwrap();
    node.launch(container("runs", "pod", "exec sleep 1000")).await;
    let mut ending = container(
        "ends",
        "pod",
        "until [ -e /shared/go ]; do sleep 0.02; done; echo ended; exit 5",
    );
    ending.log_path = node.log_path("ends.log").display().to_string();
    let shared = node.machine.path("shared");
    ending.mounts.push(api::ContainerMount {
        container_path: "/shared".into(),
        host_path: shared.display().to_string(),
        ..api::ContainerMount::default()
    });
    node.launch(ending).await;
    node.launch(container("ended", "pod", "exit 3")).await;
    let ended = node.until_exited("ended").await;
    let mut made_only = secretive("made", "pod");
    made_only.log_path = node.log_path("made.log").display().to_string();
    node.make_container(made_only.clone()).await.unwrap();
    let running = node.get_container("runs").await.unwrap();

    node.machine.kill().await;
    for file in ["aurae.db", "aurae.db-wal"] {
        let content = fs_err::read(node.machine.path("state").join(file)).unwrap();
        let found = content.windows(9).any(|window| window == b"hush-hush");
        assert!(!found, "{file} holds the value of a variable");
    }
    fs_err::write(shared.join("go"), "").unwrap();
    node.machine.until_file_contains("sandbox-logs", "ended").await;
    node.restart().await;

    assert_eq!(node.get_sandbox("pod").await.unwrap().0, made);
    assert_eq!(node.get_container("runs").await.unwrap(), running);
    assert_eq!(node.get_container("ended").await.unwrap(), ended);
    let ends = node.until_exited("ends").await;
    assert_eq!((ends.exit_code, ends.reason.as_str()), (5, "Error"));
    let created = node.get_container("made").await.unwrap();
    assert_eq!(created.state(), ContainerState::Created);
    assert!(created.spec.unwrap().env.is_empty());
    node.make_container(made_only).await.unwrap();
    node.start_container("made").await.unwrap();
    node.machine
        .until_file_contains("sandbox-logs", "hush-hush")
        .await;
    node.stop_container("runs", 0).await;
    assert_eq!(node.get_container("runs").await.unwrap().exit_code, 137);
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn a_sandbox_whose_init_is_killed_has_stopped() {
    let Some(node) = Node::new("a_sandbox_whose_init_is_killed_has_stopped").await else {
        return;
    };
    let made = node.make(sandbox("pod")).await.unwrap();
    node.launch(container("main", "pod", "exec sleep 1000")).await;
    node.make_container(container("idle", "pod", "true"))
        .await
        .unwrap();
    let mut events = node.events().await;
    kill_init(&made);
    events.until(RuntimeEventKind::Stopped, "main").await;
    events.until(RuntimeEventKind::Stopped, "").await;
    let (status, _) = node.get_sandbox("pod").await.unwrap();
    assert_eq!((status.state(), status.pid), (SandboxState::Stopped, 0));
    assert!(!status.message.is_empty());
    let main = node.get_container("main").await.unwrap();
    assert_eq!(
        (main.state(), main.exit_code, main.reason.as_str()),
        (ContainerState::Exited, 137, "Error")
    );
    let error = node.start_container("idle").await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error:?}");
    node.stop_container("main", 5).await;
    node.end("pod").await;
    node.remove_container("main").await;
    // Its name is free again once it is gone.
    node.discard("pod").await;
    let again = node.make(sandbox("pod")).await.unwrap();
    assert_eq!(again.state(), SandboxState::Ready);
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn sandboxes_that_died_with_the_daemon_have_stopped() {
    let Some(mut node) = Node::new("sandboxes_that_died_with_the_daemon_have_stopped").await else {
        return;
    };
    let mut inits = Vec::new();
    for id in ["killed", "hung", "rebooted"] {
        inits.push(node.make(sandbox(id)).await.unwrap());
        node.launch(container(&format!("main-{id}"), id, "exec sleep 1000"))
            .await;
        node.make_container(container(&format!("idle-{id}"), id, "true"))
            .await
            .unwrap();
    }
    node.machine.kill().await;
    kill_init(&inits[0]);
    let hung = Pid::from_raw(inits[1].pid.cast_signed()).unwrap();
    kill_process(hung, Signal::STOP).unwrap();
    // What a reboot does.
    kill_init(&inits[2]);
    fs_err::remove_dir_all(node.machine.path("run/pods/rebooted")).unwrap();
    node.restart().await;
    for id in ["killed", "hung", "rebooted"] {
        let (status, containers) = node.get_sandbox(id).await.unwrap();
        assert_eq!((status.state(), status.pid), (SandboxState::Stopped, 0), "{id}");
        assert_eq!(containers.len(), 2);
        let main = node.get_container(&format!("main-{id}")).await.unwrap();
        assert_eq!(
            (main.state(), main.exit_code, main.reason.as_str()),
            (ContainerState::Exited, 255, "Unknown"),
            "{id}"
        );
        assert!(main.started_at.is_some() && main.finished_at.is_some());
        let idle = node.get_container(&format!("idle-{id}")).await.unwrap();
        assert_eq!(idle.state(), ContainerState::Created);
        node.end(id).await;
    }
    node.discard("killed").await;
    node.remove_container("main-hung").await;
    node.discard("hung").await;
    // The last one stays: cleanup takes it along.
    node.finish().await;
}

#[tokio::test]
async fn a_daemon_that_lacks_descriptors_ends_nothing() {
    let Some(mut node) = Node::new("a_daemon_that_lacks_descriptors_ends_nothing").await else {
        return;
    };
    let descriptors = format!("/proc/{}/fd", node.machine.process());
    let own = fs_err::read_dir(descriptors).unwrap().count();
    // Each takes more than one of them.
    let ids: Vec<String> = (0..own).map(|number| format!("pod-{number}")).collect();
    let mut made = Vec::new();
    for id in &ids {
        made.push(node.make(sandbox(id)).await.unwrap());
    }
    node.machine.kill().await;
    let mut few = node.machine.inside("sh");
    let limited = format!("ulimit -n {own} && exec \"$0\" \"$@\"");
    few.args(["-c", &limited, crate::machine::PROGRAM]);
    let output = crate::machine::limited(few.args(node.machine.flags()));
    let said = crate::machine::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Too many open files"), "{said}");
    node.restart().await;
    for status in made {
        let id = status.spec.as_ref().unwrap().id.clone();
        assert_eq!(node.get_sandbox(&id).await.unwrap().0, status);
    }
    node.finish().await;
}

#[tokio::test]
async fn an_init_that_hangs_and_is_nobodys_keeps_no_daemon_from_its_start() {
    let name = "an_init_that_hangs_and_is_nobodys_keeps_no_daemon_from_its_start";
    let Some(mut node) = Node::new(name).await else {
        return;
    };
    let made = node.make(sandbox("pod")).await.unwrap();
    node.machine.kill().await;
    for file in ["aurae.db", "aurae.db-wal", "aurae.db-shm"] {
        fs_err::remove_file(node.machine.path("state").join(file)).unwrap();
    }
    let hung = Pid::from_raw(made.pid.cast_signed()).unwrap();
    kill_process(hung, Signal::STOP).unwrap();
    node.restart().await;
    assert_eq!(node.get_sandbox("pod").await.unwrap_err().code(), Code::NotFound);
    assert!(!node.machine.path("run/pods/pod").exists());
    node.finish().await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_at_any_point_leaves_nothing_of_sandboxes() {
    let name = "a_daemon_that_is_killed_at_any_point_leaves_nothing_of_sandboxes";
    let Some(mut node) = Node::new(name).await else {
        return;
    };
    // Every other one is in a cgroup of its caller's.
    let parent = format!("/auraed-it-callers-{}", std::process::id());
    let wanted = |round: u64, pod: &str| api::SandboxSpec {
        cgroup_parent: [String::new(), format!("{parent}/inner")][usize::from(round % 2 == 1)].clone(),
        ..sandbox(pod)
    };
    for round in 0_u64..12 {
        let (pod, main) = (format!("pod-{round}"), format!("main-{round}"));
        let client = node.client.clone();
        let spec = container(&main, &pod, "exec sleep 1000");
        let (made, launched) = (wanted(round, &pod), spec.clone());
        let making = tokio::spawn(async move {
            let request = api::CreateSandboxRequest { spec: Some(made) };
            client.sandboxes().create_sandbox(request).await?;
            let id = launched.id.clone();
            let request = api::CreateContainerRequest { spec: Some(launched) };
            client.containers().create_container(request).await?;
            let request = api::StartContainerRequest { id };
            client.containers().start_container(request).await
        });
        tokio::time::sleep(Duration::from_millis(round * 4)).await;
        node.machine.kill().await;
        // Answered or not: that was the daemon's business.
        let _ = making.await.unwrap();
        node.restart().await;
        let status = node.make(wanted(round, &pod)).await.unwrap();
        assert_eq!(status.state(), SandboxState::Ready, "{round}");
        let groups = fs_err::read_to_string(format!("/proc/{}/cgroup", status.pid)).unwrap();
        assert_eq!(
            groups.contains(&format!("{parent}/inner/")),
            round % 2 == 1,
            "{groups}"
        );
        node.make_container(spec).await.unwrap();
        let state = node.get_container(&main).await.unwrap().state();
        if state == ContainerState::Created {
            node.start_container(&main).await.unwrap();
        }
        let state = node.get_container(&main).await.unwrap().state();
        assert_eq!(state, ContainerState::Running, "{round}");
    }
    for round in 0_u64..12 {
        let (pod, main) = (format!("pod-{round}"), format!("main-{round}"));
        let (client, sandbox_id) = (node.client.clone(), pod.clone());
        let removing = tokio::spawn(async move {
            let request = api::RemoveContainerRequest { id: main };
            client.containers().remove_container(request).await?;
            let request = api::RemoveSandboxRequest { id: sandbox_id };
            client.sandboxes().remove_sandbox(request).await
        });
        tokio::time::sleep(Duration::from_millis(round * 2)).await;
        node.machine.kill().await;
        let _ = removing.await.unwrap();
        node.restart().await;
        if round % 2 == 0 {
            node.discard(&pod).await;
        }
    }
    // What was not removed again goes with cleanup, but the caller's own cgroups.
    node.finish().await;
    let hierarchies = fs_err::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let hierarchies = hierarchies
        .map(|entry| entry.path())
        .chain(["/sys/fs/cgroup".into()]);
    for parent in hierarchies.map(|path| path.join(&parent[1..])) {
        if parent.exists() {
            fs_err::remove_dir(parent.join("inner")).unwrap();
            fs_err::remove_dir(parent).unwrap();
        }
    }
}
