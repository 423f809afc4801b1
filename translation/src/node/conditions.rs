//! The node's conditions.

use std::collections::BTreeMap;

use auraed_api::observe::v0::GetNodeResponse;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NodeCondition, NodeStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity::Amount;
use crate::time;

/// Type, reason and message of what is not short. This node does not evict yet, so it never says that it is.
const ENOUGH: [(&str, &str, &str); 3] = [
    (
        "MemoryPressure",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    (
        "DiskPressure",
        "KubeletHasNoDiskPressure",
        "kubelet has no disk pressure",
    ),
    (
        "PIDPressure",
        "KubeletHasSufficientPID",
        "kubelet has sufficient PID available",
    ),
];
const NEEDED: [&str; 4] = ["cpu", "memory", "pods", "ephemeral-storage"];

/// Ours, Ready last, behind those that others wrote.
pub(super) fn all(
    facts: &GetNodeResponse,
    capacity: &BTreeMap<String, Quantity>,
    old: Option<&NodeStatus>,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let before = old.and_then(|old| old.conditions.as_deref()).unwrap_or_default();
    let ours = |kind: &str| kind == "Ready" || ENOUGH.iter().any(|(known, ..)| *known == kind);
    let mut conditions: Vec<NodeCondition> = before
        .iter()
        .filter(|condition| !ours(&condition.type_))
        .cloned()
        .collect();
    for (kind, reason, message) in ENOUGH {
        conditions.push(condition(kind, false, reason, message, before, now));
    }
    let mut problems = facts.problems.clone();
    problems.extend(missing(capacity));
    conditions.push(if problems.is_empty() {
        condition(
            "Ready",
            true,
            "KubeletReady",
            "kubelet is posting ready status",
            before,
            now,
        )
    } else {
        condition(
            "Ready",
            false,
            "KubeletNotReady",
            &problems.join("; "),
            before,
            now,
        )
    });
    conditions
}

fn missing(capacity: &BTreeMap<String, Quantity>) -> Option<String> {
    let absent = |name: &&str| {
        !capacity
            .get(*name)
            .is_some_and(|have| Amount::of(have).is_ok_and(|have| !have.is_zero()))
    };
    let names: Vec<&str> = NEEDED.into_iter().filter(absent).collect();
    (!names.is_empty()).then(|| format!("missing node capacity for resources: {}", names.join(", ")))
}

fn condition(
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    before: &[NodeCondition],
    now: Timestamp,
) -> NodeCondition {
    let status = if holds { "True" } else { "False" };
    let same = before
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == status);
    let since = same.and_then(|condition| condition.last_transition_time.clone());
    NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(time::whole(now)),
        last_transition_time: Some(since.unwrap_or_else(|| time::whole(now))),
    }
}
