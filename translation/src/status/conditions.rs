//! Conditions: kubelet's own, computed anew, behind those of others, which are kept.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};

use super::containers::{Statuses, is_resized, is_running, is_terminated};
use super::{Scope, time};
use crate::pod::is_sidecar;

/// Conditions that only the node's agent writes.
const OWN: [&str; 8] = [
    "AllContainersRestarting",
    "ContainersReady",
    "Initialized",
    "PodReadyToStartContainers",
    "PodResizeInProgress",
    "PodResizePending",
    "PodScheduled",
    "Ready",
];

/// True, or false with a reason and a message.
struct Verdict {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes() -> Verdict {
        Verdict {
            holds: true,
            reason: "",
            message: String::new(),
        }
    }

    fn no(reason: &'static str, message: impl Into<String>) -> Verdict {
        Verdict {
            holds: false,
            reason,
            message: message.into(),
        }
    }
}

/// Conditions that others wrote.
pub(super) fn foreign(old: &PodStatus) -> impl Iterator<Item = &PodCondition> {
    old.conditions
        .iter()
        .flatten()
        .filter(|condition| !OWN.contains(&condition.type_.as_str()))
}

pub(super) fn all(scope: Scope<'_>, containers: &Statuses, phase: &str) -> Vec<PodCondition> {
    let mut conditions: Vec<PodCondition> = foreign(scope.old).cloned().collect();
    if let Some(verdict) = resize(scope, containers) {
        conditions.push(condition(scope, "PodResizePending", verdict));
    }
    let ready = containers_ready(scope, containers, phase);
    let gates = pod_ready(scope, &conditions, &ready);
    conditions.push(condition(scope, "PodReadyToStartContainers", sandbox(scope)));
    conditions.push(condition(
        scope,
        "Initialized",
        initialized(scope, containers, phase),
    ));
    conditions.push(condition(scope, "Ready", gates));
    conditions.push(condition(scope, "ContainersReady", ready));
    conditions.push(condition(scope, "PodScheduled", Verdict::yes()));
    conditions
}

fn condition(scope: Scope<'_>, kind: &str, verdict: Verdict) -> PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let old = scope
        .old
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == kind);
    let since = old
        .filter(|old| old.status == status)
        .and_then(|old| old.last_transition_time.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: (!verdict.reason.is_empty()).then(|| verdict.reason.to_owned()),
        message: (!verdict.message.is_empty()).then_some(verdict.message),
        observed_generation: scope.generation(),
        last_transition_time: Some(since.unwrap_or_else(|| time::whole(scope.now))),
        ..PodCondition::default()
    }
}

fn sandbox(scope: Scope<'_>) -> Verdict {
    let message = match &scope.seen.sandbox {
        None => "no pod sandbox exists",
        Some(sandbox) if !sandbox.ready => "pod sandbox is not ready",
        Some(sandbox) if sandbox.addresses.is_empty() && scope.spec.host_network != Some(true) => {
            "pod sandbox has no IP address"
        }
        Some(_) => return Verdict::yes(),
    };
    Verdict::no("PodSandboxNotReady", message)
}

fn initialized(scope: Scope<'_>, containers: &Statuses, phase: &str) -> Verdict {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in scope.spec.init_containers.iter().flatten() {
        match containers
            .init
            .iter()
            .find(|status| status.name == container.name)
        {
            None => unknown.push(container.name.as_str()),
            Some(status) if is_sidecar(container) && status.started != Some(true) => {
                incomplete.push(container.name.as_str())
            }
            Some(status) if !is_sidecar(container) && !status.ready => {
                incomplete.push(container.name.as_str())
            }
            Some(_) => {}
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Verdict {
            holds: true,
            reason: "PodCompleted",
            message: String::new(),
        };
    }
    let started = |status: &ContainerStatus| is_running(status) || is_terminated(status);
    let before = scope
        .old
        .conditions
        .iter()
        .flatten()
        .any(|old| old.type_ == "Initialized" && old.status == "True");
    // Once initialized, always: a sidecar that starts again takes nothing back.
    if containers.regular.iter().any(started) || before {
        return Verdict::yes();
    }
    match messages(&unknown, "incomplete", &incomplete) {
        message if message.is_empty() => Verdict::yes(),
        message => Verdict::no("ContainersNotInitialized", message),
    }
}

fn containers_ready(scope: Scope<'_>, containers: &Statuses, phase: &str) -> Verdict {
    let sidecars = scope
        .spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| is_sidecar(container));
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for container in sidecars.chain(&scope.spec.containers) {
        match containers.find(&container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    match phase {
        "Succeeded" if unknown.is_empty() => return Verdict::no("PodCompleted", ""),
        "Failed" => return Verdict::no("PodFailed", ""),
        _ => {}
    }
    match messages(&unknown, "unready", &unready) {
        message if message.is_empty() => Verdict::yes(),
        message => Verdict::no("ContainersNotReady", message),
    }
}

fn messages(unknown: &[&str], word: &str, others: &[&str]) -> String {
    let one = |word: &str, names: &[&str]| match names {
        [] => None,
        names => Some(format!("containers with {word} status: [{}]", names.join(" "))),
    };
    let found: Vec<String> = [one("unknown", unknown), one(word, others)]
        .into_iter()
        .flatten()
        .collect();
    found.join(", ")
}

fn pod_ready(scope: Scope<'_>, conditions: &[PodCondition], containers: &Verdict) -> Verdict {
    if !containers.holds {
        return Verdict::no(containers.reason, containers.message.clone());
    }
    let mut missing = Vec::new();
    for gate in scope.spec.readiness_gates.iter().flatten() {
        let name = &gate.condition_type;
        match conditions.iter().find(|condition| condition.type_ == *name) {
            None => missing.push(format!(
                "corresponding condition of pod readiness gate {name:?} does not exist."
            )),
            Some(found) if found.status != "True" => missing.push(format!(
                "the status of pod readiness gate {name:?} is not \"True\", but {}",
                found.status
            )),
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        Verdict::yes()
    } else {
        Verdict::no("ReadinessGatesNotReady", missing.join(", "))
    }
}

/// A change of a running container's resources, which this node does not carry out.
fn resize(scope: Scope<'_>, containers: &Statuses) -> Option<Verdict> {
    let all = scope
        .spec
        .init_containers
        .iter()
        .flatten()
        .chain(&scope.spec.containers);
    let mut resized = all.filter(|container| {
        containers
            .find(&container.name)
            .is_some_and(|status| is_running(status) && is_resized(container, status))
    });
    resized.next().map(|_| Verdict {
        holds: true,
        reason: "Infeasible",
        message: "this node cannot change the resources of a running container yet".to_owned(),
    })
}
