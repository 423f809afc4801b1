use super::*;

fn told(status: &PodStatus, kind: &str) -> (String, String, String) {
    let condition = condition(status, kind);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    (
        condition.status.clone(),
        text(&condition.reason),
        text(&condition.message),
    )
}

fn triple(status: &str, reason: &str, message: &str) -> (String, String, String) {
    (status.to_owned(), reason.to_owned(), message.to_owned())
}

#[test]
fn a_sandbox_is_ready_or_says_why_not() {
    let of = |sandbox: Option<SandboxStatus>, spec: Value| {
        let mut seen = seen(Phase::Pending, Vec::new());
        seen.sandbox = sandbox;
        told(
            &to_kubernetes(&seen, &pod(spec, json!({})), &node(), now()),
            "PodReadyToStartContainers",
        )
    };
    let no = |message: &str| triple("False", "PodSandboxNotReady", message);
    assert_eq!(of(None, one()), no("no pod sandbox exists"));
    assert_eq!(
        of(Some(SandboxStatus::default()), one()),
        no("pod sandbox is not ready")
    );
    let bare = SandboxStatus {
        ready: true,
        ..SandboxStatus::default()
    };
    assert_eq!(of(Some(bare.clone()), one()), no("pod sandbox has no IP address"));
    let mut host = one();
    host["hostNetwork"] = true.into();
    assert_eq!(of(Some(bare), host), triple("True", "", ""));
}

fn with_init() -> Value {
    json!({
        "initContainers": [{ "name": "first" }, { "name": "side", "restartPolicy": "Always" }],
        "containers": [{ "name": "main" }],
    })
}

fn initializing(
    init: Vec<ContainerStatus>,
    regular: Vec<ContainerStatus>,
    phase: Phase,
    status: Value,
) -> PodStatus {
    let mut seen = seen(phase, regular);
    seen.init_containers = init;
    to_kubernetes(&seen, &pod(with_init(), status), &node(), now())
}

#[test]
fn a_pod_is_initialized_when_its_init_containers_are_done() {
    let done = || ContainerStatus {
        ready: true,
        ..container("first", ended(0, "Completed"))
    };
    let status = initializing(
        vec![container("first", None)],
        Vec::new(),
        Phase::Pending,
        json!({}),
    );
    assert_eq!(
        told(&status, "Initialized"),
        triple(
            "False",
            "ContainersNotInitialized",
            "containers with incomplete status: [first side]"
        )
    );
    assert_eq!(
        told(&status, "Ready"),
        triple(
            "False",
            "ContainersNotReady",
            "containers with unready status: [side main]"
        )
    );
    let status = initializing(
        vec![done(), container("side", None)],
        Vec::new(),
        Phase::Pending,
        json!({}),
    );
    assert_eq!(
        told(&status, "Initialized").2,
        "containers with incomplete status: [side]"
    );
    let status = initializing(
        vec![done(), running("side")],
        Vec::new(),
        Phase::Pending,
        json!({}),
    );
    assert_eq!(told(&status, "Initialized"), triple("True", "", ""));
    // A sidecar that starts again takes nothing back.
    let status = initializing(
        vec![done(), container("side", None)],
        vec![running("main")],
        Phase::Running,
        json!({}),
    );
    assert_eq!(told(&status, "Initialized"), triple("True", "", ""));
    let before = json!({ "conditions": [{ "type": "Initialized", "status": "True" }] });
    let status = initializing(
        vec![done(), container("side", None)],
        Vec::new(),
        Phase::Running,
        before,
    );
    assert_eq!(told(&status, "Initialized"), triple("True", "", ""));
}

#[test]
fn a_pod_that_ended_is_not_ready() {
    let done = ContainerStatus {
        container_id: "x".to_owned(),
        ..container("main", ended(0, "Completed"))
    };
    let status = to_kubernetes(
        &seen(Phase::Succeeded, vec![done]),
        &pod(one(), json!({})),
        &node(),
        now(),
    );
    assert_eq!(told(&status, "Initialized"), triple("True", "PodCompleted", ""));
    assert_eq!(told(&status, "Ready"), triple("False", "PodCompleted", ""));
    assert_eq!(
        told(&status, "ContainersReady"),
        triple("False", "PodCompleted", "")
    );
    let failed = container("main", ended(1, "Error"));
    let status = to_kubernetes(
        &seen(Phase::Failed, vec![failed]),
        &pod(one(), json!({})),
        &node(),
        now(),
    );
    assert_eq!(told(&status, "Ready"), triple("False", "PodFailed", ""));
    assert_eq!(told(&status, "Initialized"), triple("True", "", ""));
}

#[test]
fn readiness_gates_are_waited_for() {
    let mut spec = one();
    spec["readinessGates"] = json!([{ "conditionType": "a.example/x" }, { "conditionType": "a.example/y" }]);
    let of = |conditions: Value| {
        let pod = pod(spec.clone(), json!({ "conditions": conditions }));
        to_kubernetes(&seen(Phase::Running, vec![running("main")]), &pod, &node(), now())
    };
    let status = of(json!([{ "type": "a.example/y", "status": "False" }]));
    assert_eq!(
        told(&status, "Ready"),
        triple(
            "False",
            "ReadinessGatesNotReady",
            "corresponding condition of pod readiness gate \"a.example/x\" does not exist., the status of pod readiness gate \"a.example/y\" is not \"True\", but False"
        )
    );
    assert_eq!(told(&status, "ContainersReady"), triple("True", "", ""));
    let status =
        of(json!([{ "type": "a.example/x", "status": "True" }, { "type": "a.example/y", "status": "True" }]));
    assert_eq!(told(&status, "Ready"), triple("True", "", ""));
    let order: Vec<_> = status
        .conditions
        .unwrap()
        .into_iter()
        .map(|condition| condition.type_)
        .collect();
    let expected = [
        "a.example/x",
        "a.example/y",
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ];
    assert_eq!(order, expected);
}

#[test]
fn transition_times_stay_while_nothing_changes() {
    let since = |kind: &str, status: &str| json!({ "type": kind, "status": status, "lastTransitionTime": "2020-01-01T00:00:00Z" });
    let before = json!({
        "observedGeneration": 7,
        "startTime": "2019-12-31T00:00:00Z",
        "conditions": [since("Ready", "False"), since("PodScheduled", "True")],
    });
    let mut seen = seen(Phase::Running, vec![running("main")]);
    seen.observed_generation = 3;
    let status = to_kubernetes(&seen, &pod(one(), before), &node(), now());
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["startTime"], "2019-12-31T00:00:00Z");
    // Never lowered.
    assert_eq!(json["observedGeneration"], 7);
    let time =
        |kind: &str| serde_json::to_value(condition(&status, kind)).unwrap()["lastTransitionTime"].clone();
    assert_eq!(time("PodScheduled"), "2020-01-01T00:00:00Z");
    assert_eq!(time("Ready"), "2026-01-02T03:04:05Z");
}
