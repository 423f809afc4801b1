//! What is refused, and what may be repeated.

use super::{container, sandbox};
use crate::machine::Machine;
use crate::node::{Node, pod, shell};
use auraed_api::runtime::v0 as api;
use auraed_api::runtime::v0::RestartPolicy;
use auraed_api::schedule::v0::NowRequest;
use std::collections::HashSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request().unwrap();
    let violations = details.field_violations.into_iter();
    violations.map(|violation| violation.field).collect()
}

#[tokio::test]
async fn a_repeat_changes_nothing_and_another_spec_is_refused() {
    let Some(node) = Node::new("a_repeat_changes_nothing_and_another_spec_is_refused").await else {
        return;
    };
    let code = |result: Result<api::SandboxStatus, Status>| result.unwrap_err().code();
    let made = node.make(sandbox("pod")).await.unwrap();
    assert_eq!(node.make(sandbox("pod")).await.unwrap(), made);
    let mut other = sandbox("pod");
    other.labels.insert("a".into(), "b".into());
    assert_eq!(code(node.make(other).await), Code::AlreadyExists);
    let same_name = api::SandboxSpec {
        id: "pod2".into(),
        ..sandbox("pod")
    };
    assert_eq!(code(node.make(same_name.clone()).await), Code::AlreadyExists);
    let next = api::SandboxSpec {
        attempt: 1,
        ..same_name
    };
    node.make(next).await.unwrap();

    let code = |result: Result<(), Status>| result.unwrap_err().code();
    let mut spec = container("main", "pod", "exec sleep 1000");
    spec.env.push(api::KeyValue {
        name: "A".into(),
        value: "1".into(),
    });
    node.make_container(spec.clone()).await.unwrap();
    node.make_container(spec.clone()).await.unwrap();
    let mut other = spec.clone();
    other.env[0].value = "2".into();
    assert_eq!(code(node.make_container(other).await), Code::AlreadyExists);
    let same_name = api::ContainerSpec {
        id: "main2".into(),
        ..spec.clone()
    };
    assert_eq!(code(node.make_container(same_name).await), Code::AlreadyExists);
    node.start_container("main").await.unwrap();
    node.make_container(spec).await.unwrap();
    assert_eq!(code(node.start_container("main").await), Code::FailedPrecondition);
    assert_eq!(
        node.get_container("main").await.unwrap().state(),
        api::ContainerState::Running
    );

    // What was stopped is not made anew either.
    node.end("pod").await;
    let again = node.make(sandbox("pod")).await.unwrap();
    assert_eq!(
        (again.state(), again.created_at),
        (api::SandboxState::Stopped, made.created_at)
    );
    assert_eq!(
        code(node.make_container(container("late", "pod", "true")).await),
        Code::FailedPrecondition
    );
    node.discard("pod").await;
    node.discard("pod2").await;
    node.finish().await;
}

#[tokio::test]
async fn calls_that_come_at_once_make_one() {
    let Some(node) = Node::new("calls_that_come_at_once_make_one").await else {
        return;
    };
    let makings = (0..8).map(|_| node.make(sandbox("pod")));
    let made = futures_util::future::join_all(makings).await;
    let pids: HashSet<u32> = made.into_iter().map(|made| made.unwrap().pid).collect();
    assert_eq!(pids.len(), 1);
    let makings = (0..8).map(|_| node.make_container(container("main", "pod", "exec sleep 1000")));
    for made in futures_util::future::join_all(makings).await {
        made.unwrap();
    }
    let starts = (0..8).map(|_| node.start_container("main"));
    let started = futures_util::future::join_all(starts).await;
    assert_eq!(started.iter().filter(|started| started.is_ok()).count(), 1);
    let removals = (0..8).map(|_| node.remove_container("main"));
    futures_util::future::join_all(removals).await;
    let removals = (0..8).map(|_| node.discard("pod"));
    futures_util::future::join_all(removals).await;
    node.finish().await;
}

#[tokio::test]
async fn runtime_handlers_that_are_configured_mean_the_default_one() {
    let Some(mut machine) = Machine::new("runtime_handlers_that_are_configured_mean_the_default_one") else {
        return;
    };
    fs_err::write(machine.path("auraed.toml"), "[runtime]\nhandlers = [\"runc\"]\n").unwrap();
    machine.start().await;
    let Some(node) = Node::on(machine).await else {
        return;
    };
    let runtime = node.client.runtime().get_runtime(api::GetRuntimeRequest {}).await;
    let handlers = runtime.unwrap().into_inner().handlers;
    assert_eq!(
        handlers
            .iter()
            .map(|handler| handler.name.as_str())
            .collect::<Vec<_>>(),
        ["", "runc"]
    );
    let with = |handler: &str| api::SandboxSpec {
        runtime_handler: handler.into(),
        ..sandbox("pod")
    };
    let status = node.make(with("crun")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let made = node.make(with("runc")).await.unwrap();
    assert_eq!(made.spec.unwrap().runtime_handler, "runc");
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn what_is_not_to_be_had_is_refused_by_its_field() {
    let Some(node) = Node::new("what_is_not_to_be_had_is_refused_by_its_field").await else {
        return;
    };
    let bad = api::SandboxSpec {
        id: "Bad".into(),
        hostname: "h".repeat(100),
        ..sandbox("pod")
    };
    let status = node.make(bad).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status), ["id", "hostname"]);
    let handler = api::SandboxSpec {
        runtime_handler: "kata".into(),
        ..sandbox("pod")
    };
    let status = node.make(handler).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("\"kata\""), "{status:?}");
    let sysctl = api::SandboxSpec {
        sysctls: [("kernel.panic".to_owned(), "1".to_owned())].into(),
        ..sandbox("pod")
    };
    let status = node.make(sysctl).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(
        node.sandboxes(api::ListSandboxesRequest::default()).await,
        [""; 0]
    );

    let range = |host_id| api::IdMapping {
        host_id,
        container_id: 0,
        length: 10,
    };
    let users = api::SandboxSpec {
        user_namespace: Some(api::UserNamespace {
            uids: vec![range(100_000), range(200_000)],
            gids: vec![range(100_000)],
        }),
        ..sandbox("pod")
    };
    let status = node.make(users).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(fields(&status), ["user_namespace"]);

    node.make(sandbox("pod")).await.unwrap();
    let code = |result: Result<(), Status>| result.unwrap_err().code();
    let lost = container("main", "elsewhere", "true");
    assert_eq!(code(node.make_container(lost).await), Code::NotFound);
    let mut imageless = container("main", "pod", "true");
    imageless.image = "example.test/nothing:1".into();
    let status = node.make_container(imageless).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("example.test/nothing:1"), "{status:?}");
    let mut privileged = container("main", "pod", "true");
    privileged.security = Some(api::ProcessSecurity {
        privileged: true,
        ..api::ProcessSecurity::default()
    });
    let status = node.make_container(privileged).await.unwrap_err();
    assert_eq!(fields(&status), ["security.privileged"]);
    assert_eq!(code(node.start_container("main").await), Code::NotFound);
    assert_eq!(
        node.containers(api::ListContainersRequest::default()).await,
        [""; 0]
    );
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn ids_are_found_by_their_unique_beginning() {
    let Some(node) = Node::new("ids_are_found_by_their_unique_beginning").await else {
        return;
    };
    for (id, app) in [("ab1", "x"), ("ab2", "y")] {
        let mut spec = sandbox(id);
        spec.labels.insert("app".into(), app.into());
        node.make(spec).await.unwrap();
        let mut spec = container(&format!("c-{id}"), id, "exec sleep 1000");
        spec.labels.insert("app".into(), app.into());
        node.make_container(spec).await.unwrap();
    }
    node.start_container("c-ab2").await.unwrap();
    assert_eq!(node.get_sandbox("ab1").await.unwrap().1.len(), 1);
    let found = node.get_container("c-ab1").await.unwrap();
    assert_eq!(
        node.get_container("c-ab").await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    assert_eq!(
        node.get_sandbox("ab").await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    assert_eq!(found.spec.unwrap().id, "c-ab1");
    let by = |id: &str, sandbox: &str, app: Option<&str>, state: i32| api::ListContainersRequest {
        id: id.into(),
        sandbox: sandbox.into(),
        labels: app
            .map(|app| ("app".to_owned(), app.to_owned()))
            .into_iter()
            .collect(),
        state,
    };
    assert_eq!(node.containers(by("", "", None, 0)).await, ["c-ab1", "c-ab2"]);
    assert_eq!(node.containers(by("", "", Some("y"), 0)).await, ["c-ab2"]);
    assert_eq!(node.containers(by("", "ab1", None, 0)).await, ["c-ab1"]);
    assert_eq!(node.containers(by("c-ab1", "ab2", None, 0)).await, [""; 0]);
    let running = api::ContainerState::Running.into();
    assert_eq!(node.containers(by("", "", None, running)).await, ["c-ab2"]);
    assert_eq!(node.containers(by("zz", "", None, 0)).await, [""; 0]);
    node.end("ab1").await;
    let by = |app: Option<&str>, state: i32| api::ListSandboxesRequest {
        id: String::new(),
        labels: app
            .map(|app| ("app".to_owned(), app.to_owned()))
            .into_iter()
            .collect(),
        state,
    };
    assert_eq!(node.sandboxes(by(None, 0)).await, ["ab1", "ab2"]);
    assert_eq!(
        node.sandboxes(by(None, api::SandboxState::Ready.into())).await,
        ["ab2"]
    );
    assert_eq!(node.sandboxes(by(Some("x"), 0)).await, ["ab1"]);
    node.discard("ab1").await;
    node.discard("ab2").await;
    node.finish().await;
}

#[tokio::test]
async fn no_pod_has_a_sandboxs_id() {
    let Some(node) = Node::new("no_pod_has_a_sandboxs_id").await else {
        return;
    };
    let main = || vec![shell("main", "exec sleep 1000")];
    node.run(pod("one", RestartPolicy::Always, main())).await;
    let status = node.make(sandbox("one")).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
    node.make(sandbox("two")).await.unwrap();
    let request = NowRequest {
        pod: Some(pod("two", RestartPolicy::Always, main())),
    };
    let status = node.client.schedule().now(request).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
    node.until_running("one").await;
    // Neither engine takes the other's for its own when it starts again.
    let mut node = node;
    node.machine.kill().await;
    node.restart().await;
    node.until_running("one").await;
    let (status, _) = node.get_sandbox("two").await.unwrap();
    assert_eq!(status.state(), api::SandboxState::Ready);
    node.remove("one").await;
    node.discard("two").await;
    node.finish().await;
}
