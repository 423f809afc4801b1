use super::*;
use crate::Problem;

fn phase(status: &PodStatus) -> &str {
    status.phase.as_deref().unwrap()
}

#[test]
fn a_terminal_phase_is_told_when_nothing_runs_any_more() {
    let mut spec = one();
    spec["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "other" }));
    let before = json!({ "phase": "Running" });
    let failed = |containers| {
        let mut seen = seen(Phase::Failed, containers);
        seen.reason = "DeadlineExceeded".to_owned();
        to_kubernetes(&seen, &pod(spec.clone(), before.clone()), &node(), now())
    };
    let held = failed(vec![container("main", ended(1, "Error")), running("other")]);
    assert_eq!(phase(&held), "Running");
    assert_eq!(held.reason, None);
    // But nobody should send it requests.
    assert_eq!(condition(&held, "Ready").reason.as_deref(), Some("PodFailed"));
    let told = failed(vec![
        container("main", ended(1, "Error")),
        container("other", ended(137, "Error")),
    ]);
    assert_eq!(phase(&told), "Failed");
    assert_eq!(told.reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn a_terminal_phase_never_changes() {
    let before = json!({ "phase": "Failed", "reason": "Evicted", "message": "no room" });
    let status = to_kubernetes(
        &seen(Phase::Running, vec![running("main")]),
        &pod(one(), before),
        &node(),
        now(),
    );
    assert_eq!(phase(&status), "Failed");
    assert_eq!(
        (status.reason.as_deref(), status.message.as_deref()),
        (Some("Evicted"), Some("no room"))
    );
}

#[test]
fn a_pod_deleted_before_it_started_has_failed() {
    let mut seen = seen(
        Phase::Pending,
        vec![container("main", waiting_for("ContainerCreating"))],
    );
    seen.finished = true;
    let status = to_kubernetes(&seen, &pod(one(), json!({ "phase": "Pending" })), &node(), now());
    assert_eq!(phase(&status), "Failed");
    let ended = status
        .container_statuses
        .unwrap()
        .remove(0)
        .state
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(
        (ended.exit_code, ended.reason.as_deref()),
        (137, Some("ContainerStatusUnknown"))
    );
}

#[test]
fn a_pod_stopped_between_two_starts_shows_how_it_ended() {
    let mut main = container("main", waiting_for("CrashLoopBackOff"));
    main.last_state = ended(3, "Error");
    let mut seen = seen(Phase::Running, vec![main]);
    seen.finished = true;
    let status = to_kubernetes(&seen, &pod(one(), json!({ "phase": "Running" })), &node(), now());
    assert_eq!(phase(&status), "Failed");
    let main = status.container_statuses.unwrap().remove(0);
    assert_eq!(main.state.unwrap().terminated.unwrap().exit_code, 3);
    assert!(main.last_state.is_none());
}

#[test]
fn containers_behind_a_failed_init_container_never_started() {
    let spec = json!({
        "initContainers": [{ "name": "a" }, { "name": "b" }],
        "containers": [{ "name": "main" }],
    });
    let mut seen = seen(Phase::Failed, vec![container("main", None)]);
    seen.init_containers = vec![container("a", ended(1, "Error")), container("b", None)];
    seen.finished = true;
    let status = to_kubernetes(&seen, &pod(spec, json!({})), &node(), now());
    let init = status.init_container_statuses.unwrap();
    assert_eq!(
        init[0]
            .state
            .as_ref()
            .unwrap()
            .terminated
            .as_ref()
            .unwrap()
            .exit_code,
        1
    );
    assert!(init[1].state.as_ref().unwrap().waiting.is_some());
    assert!(
        status.container_statuses.unwrap()[0]
            .state
            .as_ref()
            .unwrap()
            .waiting
            .is_some()
    );
}

#[test]
fn an_end_that_was_told_stays() {
    let before = json!({
        "phase": "Running",
        "containerStatuses": [{
            "name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 2,
            "state": { "terminated": { "exitCode": 9 } },
        }],
    });
    let status = to_kubernetes(
        &seen(Phase::Running, Vec::new()),
        &pod(one(), before),
        &node(),
        now(),
    );
    let main = status.container_statuses.unwrap().remove(0);
    assert_eq!(main.restart_count, 2);
    assert_eq!(main.state.unwrap().terminated.unwrap().exit_code, 9);
}

#[test]
fn a_refused_pod_says_what_and_where() {
    let problem = |kind, field: &str, message: &str| Problem {
        kind,
        field: field.to_owned(),
        message: message.to_owned(),
    };
    let problems = [
        problem(
            Kind::Refused("UnsupportedPod"),
            "spec.runtimeClassName",
            "no runtime classes yet",
        ),
        problem(
            Kind::Refused("SysctlForbidden"),
            "spec.x",
            "forbidden sysctl: \"x\" not allowlisted",
        ),
        problem(
            Kind::Waiting { event: "FailedMount" },
            "spec.volumes[0]",
            "not found",
        ),
    ];
    let before = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "True" }] });
    let status = refused(&pod(one(), before), &problems, now());
    assert_eq!(
        serde_json::to_value(&status).unwrap(),
        json!({
            "observedGeneration": 2, "phase": "Failed", "reason": "UnsupportedPod", "qosClass": "BestEffort",
            "startTime": "2026-01-02T03:04:05Z",
            "message": "Pod was rejected: spec.runtimeClassName: no runtime classes yet; forbidden sysctl: \"x\" not allowlisted",
        })
    );
    let before = json!({ "phase": "Succeeded" });
    assert_eq!(
        phase(&refused(&pod(one(), before), &problems, now())),
        "Succeeded"
    );
}

#[test]
fn a_pod_that_waits_says_for_what() {
    let spec = json!({ "containers": [{ "name": "a" }, { "name": "b" }] });
    let problems = [Problem {
        kind: Kind::Config {
            container: "b".to_owned(),
        },
        field: "spec.containers[1].env[0].valueFrom".to_owned(),
        message: "secret \"login\" not found".to_owned(),
    }];
    let status = waiting(&pod(spec, json!({})), &problems, &node(), now());
    assert_eq!(phase(&status), "Pending");
    assert_eq!(
        condition(&status, "PodReadyToStartContainers").message.as_deref(),
        Some("no pod sandbox exists")
    );
    let containers = serde_json::to_value(status.container_statuses).unwrap();
    assert_eq!(
        containers[0]["state"]["waiting"],
        json!({ "reason": "ContainerCreating" })
    );
    assert_eq!(
        containers[1]["state"]["waiting"],
        json!({ "reason": "CreateContainerConfigError", "message": "secret \"login\" not found" })
    );
}
