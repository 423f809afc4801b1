use auraed_api::schedule::v0::container_state::State;
use auraed_api::schedule::v0::{
    ContainerState, ContainerStatus, Phase, Running, SandboxStatus, Terminated, Waiting,
};
use k8s_openapi::api::core::v1::PodCondition;
use serde_json::json;

use super::*;

mod conditions;
mod ends;
mod patches;
mod properties;

fn pod(spec: Value, status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "u-1", "generation": 2 },
        "spec": spec,
        "status": status,
    }))
    .unwrap()
}

fn node() -> Node {
    Node {
        addresses: vec!["192.0.2.1".parse().unwrap()],
        ..Node::default()
    }
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05.678Z".parse().unwrap()
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds,
        nanos: 999_999_999,
    })
}

fn state(state: State) -> Option<ContainerState> {
    Some(ContainerState { state: Some(state) })
}

fn waiting_for(reason: &str) -> Option<ContainerState> {
    state(State::Waiting(Waiting {
        reason: reason.to_owned(),
        message: String::new(),
    }))
}

fn ended(exit_code: i32, reason: &str) -> Option<ContainerState> {
    state(State::Terminated(Terminated {
        exit_code,
        reason: reason.to_owned(),
        started_at: at(10),
        finished_at: at(20),
        container_id: "old".to_owned(),
        ..Terminated::default()
    }))
}

fn container(name: &str, state: Option<ContainerState>) -> ContainerStatus {
    ContainerStatus {
        name: name.to_owned(),
        state,
        ..ContainerStatus::default()
    }
}

/// A running container that is ready.
fn running(name: &str) -> ContainerStatus {
    ContainerStatus {
        container_id: "c0ffee".to_owned(),
        image: "nginx:1.27".to_owned(),
        image_id: "nginx@sha256:1".to_owned(),
        ready: true,
        started: true,
        ..container(name, state(State::Running(Running { started_at: at(30) })))
    }
}

fn seen(phase: Phase, containers: Vec<ContainerStatus>) -> schedule::PodStatus {
    schedule::PodStatus {
        phase: phase.into(),
        containers,
        sandbox: Some(SandboxStatus {
            ready: true,
            addresses: vec!["10.88.0.5".to_owned()],
            ..Default::default()
        }),
        started_at: at(5),
        ..schedule::PodStatus::default()
    }
}

fn one() -> Value {
    json!({ "containers": [{ "name": "main", "image": "nginx:1.27" }] })
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
    status
        .conditions
        .as_ref()
        .unwrap()
        .iter()
        .find(|condition| condition.type_ == kind)
        .unwrap()
}

#[test]
fn a_running_pod_is_told_whole() {
    let spec = json!({
        "containers": [{
            "name": "main", "image": "nginx:1.27",
            "resources": { "limits": { "cpu": "1", "memory": "64Mi" }, "requests": { "cpu": "1", "memory": "64Mi" } },
            "volumeMounts": [{ "name": "a", "mountPath": "/a" }, { "name": "b", "mountPath": "/b", "readOnly": true }],
        }],
    });
    let mut main = running("main");
    main.restart_count = 1;
    main.last_state = ended(1, "Error");
    let status = to_kubernetes(
        &seen(Phase::Running, vec![main]),
        &pod(spec, json!({})),
        &node(),
        now(),
    );
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "observedGeneration": 2, "lastTransitionTime": "2026-01-02T03:04:05Z" });
    assert_eq!(
        serde_json::to_value(status).unwrap(),
        json!({
            "observedGeneration": 2,
            "phase": "Running",
            "qosClass": "Guaranteed",
            "startTime": "1970-01-01T00:00:05Z",
            "hostIP": "192.0.2.1", "hostIPs": [{ "ip": "192.0.2.1" }],
            "podIP": "10.88.0.5", "podIPs": [{ "ip": "10.88.0.5" }],
            "conditions": [
                condition("PodReadyToStartContainers"), condition("Initialized"), condition("Ready"),
                condition("ContainersReady"), condition("PodScheduled"),
            ],
            "containerStatuses": [{
                "name": "main", "image": "nginx:1.27", "imageID": "nginx@sha256:1", "containerID": "aurae://c0ffee",
                "ready": true, "started": true, "restartCount": 1,
                "state": { "running": { "startedAt": "1970-01-01T00:00:30Z" } },
                "lastState": { "terminated": {
                    "exitCode": 1, "reason": "Error", "containerID": "aurae://old",
                    "startedAt": "1970-01-01T00:00:10Z", "finishedAt": "1970-01-01T00:00:20Z",
                } },
                "resources": { "limits": { "cpu": "1", "memory": "64Mi" }, "requests": { "cpu": "1", "memory": "64Mi" } },
                "allocatedResources": { "cpu": "1", "memory": "64Mi" },
                "volumeMounts": [
                    { "name": "a", "mountPath": "/a" },
                    { "name": "b", "mountPath": "/b", "readOnly": true, "recursiveReadOnly": "Disabled" },
                ],
            }],
        })
    );
}

#[test]
fn containers_wait_with_the_reason_that_fits() {
    let spec = json!({
        "initContainers": [{ "name": "first" }],
        "containers": [{ "name": "b" }, { "name": "a" }],
    });
    let pod = pod(spec, json!({}));
    let backing_off = Waiting {
        reason: "ImagePullBackOff".to_owned(),
        message: "Back-off pulling image \"x\"".to_owned(),
    };
    let mut seen = seen(
        Phase::Pending,
        vec![container("b", state(State::Waiting(backing_off)))],
    );
    seen.sandbox = None;
    let status = to_kubernetes(&seen, &pod, &node(), now());
    let regular = serde_json::to_value(status.container_statuses).unwrap();
    assert_eq!(regular[0]["name"], "a");
    assert_eq!(
        regular[0]["state"],
        json!({ "waiting": { "reason": "PodInitializing" } })
    );
    assert_eq!(regular[0]["started"], false);
    assert_eq!(
        regular[1]["state"],
        json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\"" } })
    );
    assert_eq!(status.init_container_statuses.unwrap().len(), 1);
    assert_eq!(status.pod_ip, None);
}

#[test]
fn addresses_are_one_a_family_and_stay() {
    let of = |addresses: &[&str], spec: Value, status: Value| {
        let mut seen = seen(Phase::Running, vec![running("main")]);
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        seen.sandbox = Some(SandboxStatus {
            ready: true,
            addresses,
            ..Default::default()
        });
        let status = to_kubernetes(&seen, &pod(spec, status), &node(), now());
        let all: Vec<String> = status.pod_ips.into_iter().flatten().map(|one| one.ip).collect();
        assert_eq!(status.pod_ip.as_ref(), all.first());
        all
    };
    assert_eq!(
        of(&["fd00::1", "10.0.0.1", "10.0.0.2"], one(), json!({})),
        ["10.0.0.1", "fd00::1"]
    );
    let before = json!({ "podIP": "10.0.0.9", "podIPs": [{ "ip": "10.0.0.9" }] });
    assert_eq!(of(&[], one(), before), ["10.0.0.9"]);
    let mut host = one();
    host["hostNetwork"] = true.into();
    assert_eq!(of(&[], host, json!({})), ["192.0.2.1"]);
}

#[test]
fn termination_messages_share_their_room() {
    let mut first = container("a", None);
    first.state = state(State::Terminated(Terminated {
        message: "ä".repeat(5000),
        ..Terminated::default()
    }));
    let spec = json!({ "containers": [{ "name": "a" }, { "name": "b" }, { "name": "c" }] });
    let status = to_kubernetes(
        &seen(Phase::Running, vec![first]),
        &pod(spec, json!({})),
        &node(),
        now(),
    );
    let ended = status
        .container_statuses
        .unwrap()
        .remove(0)
        .state
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(ended.message.unwrap().len(), 4096);
}

#[test]
fn a_resize_is_answered() {
    let resources = |cpu: &str| json!({ "requests": { "cpu": cpu } });
    let before = json!({
        "containerStatuses": [{
            "name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0, "containerID": "aurae://c0ffee",
            "resources": resources("100m"), "allocatedResources": { "cpu": "100m" },
        }],
    });
    let spec = |cpu: &str| json!({ "containers": [{ "name": "main", "resources": resources(cpu) }] });
    let of = |cpu: &str| {
        to_kubernetes(
            &seen(Phase::Running, vec![running("main")]),
            &pod(spec(cpu), before.clone()),
            &node(),
            now(),
        )
    };
    let resized = of("200m");
    assert_eq!(
        condition(&resized, "PodResizePending").reason.as_deref(),
        Some("Infeasible")
    );
    let container = serde_json::to_value(&resized.container_statuses.unwrap()[0]).unwrap();
    assert_eq!(container["resources"], resources("100m"));
    let same = of("0.1");
    assert!(
        same.conditions
            .unwrap()
            .iter()
            .all(|condition| condition.type_ != "PodResizePending")
    );
}

#[test]
fn a_container_for_debugging_has_failed() {
    let mut spec = one();
    spec["ephemeralContainers"] = json!([{ "name": "debug", "image": "busybox" }]);
    let status = to_kubernetes(
        &seen(Phase::Running, vec![running("main")]),
        &pod(spec, json!({})),
        &node(),
        now(),
    );
    let ended = status
        .ephemeral_container_statuses
        .unwrap()
        .remove(0)
        .state
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(ended.exit_code, 128);
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[test]
fn classes_follow_requests_and_limits() {
    let class = |containers: Value| qos(&pod(json!({ "containers": containers }), json!({})));
    let full = json!({ "resources": { "limits": { "cpu": "1", "memory": "1Gi" } } });
    let equal = json!({ "resources": { "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "1000m", "memory": "1024Mi" } } });
    let some = json!({ "resources": { "requests": { "cpu": "1m" } } });
    let storage = json!({ "resources": { "requests": { "ephemeral-storage": "1Gi" } } });
    assert_eq!(class(json!([{}])), "BestEffort");
    assert_eq!(class(json!([storage])), "BestEffort");
    assert_eq!(class(json!([full, equal])), "Guaranteed");
    assert_eq!(class(json!([full, {}])), "Burstable");
    assert_eq!(class(json!([some])), "Burstable");
    let only_cpu = json!({ "resources": { "limits": { "cpu": "1" } } });
    assert_eq!(class(json!([only_cpu])), "Burstable");
}
