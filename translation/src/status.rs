//! An Aurae status as a Kubernetes PodStatus, and the patch that carries it.
//!
//! The bridge calls [`to_kubernetes`] with each status that auraed sends, [`refused`] or [`waiting`] where there is none
//! because the pod could not be handed over, and then [`patch`]. The pod's own `status`, as the API last showed it, is
//! where everything comes from that must not change: start time, transition times, terminal phases, addresses of a pod
//! that ended, and what other writers put there.

use auraed_api::schedule::v0 as schedule;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostIP, Pod, PodIP, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::pod::containers;
use crate::problem::UNSUPPORTED;
use crate::strategic::{self, Lists};
use crate::{Kind, Node, Problem, time};

mod conditions;
mod containers;
mod phase;
mod qos;

pub use qos::qos;

/// What the rest of this module looks at.
#[derive(Clone, Copy)]
struct Scope<'a> {
    seen: &'a schedule::PodStatus,
    pod: &'a Pod,
    spec: &'a PodSpec,
    /// As the API last showed it.
    old: &'a PodStatus,
    now: Timestamp,
}

impl Scope<'_> {
    fn generation(&self) -> Option<i64> {
        let own = self.pod.metadata.generation;
        let seen = Some(self.seen.observed_generation).filter(|generation| *generation > 0);
        seen.or(own).max(self.old.observed_generation)
    }
}

/// The status of `pod` as `seen`, with what the API's own status holds kept where it must be (`pod.status`).
pub fn to_kubernetes(seen: &schedule::PodStatus, pod: &Pod, node: &Node, now: Timestamp) -> PodStatus {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let (spec, old) = (
        pod.spec.as_ref().unwrap_or(&no_spec),
        pod.status.as_ref().unwrap_or(&no_status),
    );
    let scope = Scope {
        seen,
        pod,
        spec,
        old,
        now,
    };
    let containers = containers::all(scope);
    let outcome = phase::outcome(scope, containers.any_running());
    let conditions = conditions::all(scope, &containers, &outcome.computed);
    let mut status = kept(old);
    addresses(&mut status, scope, node);
    status.observed_generation = scope.generation();
    status.phase = Some(outcome.phase);
    status.reason = outcome.reason;
    status.message = outcome.message;
    status.qos_class = Some(old.qos_class.clone().unwrap_or_else(|| qos(pod).to_owned()));
    status.start_time = Some(start_time(scope));
    status.conditions = Some(conditions);
    status.container_statuses = not_empty(containers.regular);
    status.init_container_statuses = not_empty(containers.init);
    status.ephemeral_container_statuses = not_empty(containers.ephemeral);
    status
}

/// The status of a pod that this node will not run.
pub fn refused(pod: &Pod, problems: &[Problem], now: Timestamp) -> PodStatus {
    let none = PodStatus::default();
    let old = pod.status.as_ref().unwrap_or(&none);
    if phase::is_terminal(old.phase.as_deref()) {
        return old.clone();
    }
    let reasons = problems.iter().filter_map(|problem| match problem.kind {
        Kind::Refused(reason) => Some((reason, problem)),
        _ => None,
    });
    let reasons: Vec<_> = reasons.collect();
    let messages: Vec<String> = reasons
        .iter()
        .map(|(reason, problem)| sentence(reason, problem))
        .collect();
    PodStatus {
        observed_generation: pod.metadata.generation.max(old.observed_generation),
        phase: Some("Failed".to_owned()),
        reason: Some(
            reasons
                .first()
                .map_or(UNSUPPORTED, |(reason, _)| reason)
                .to_owned(),
        ),
        message: Some(format!("Pod was rejected: {}", messages.join("; "))),
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| qos(pod).to_owned())),
        start_time: Some(old.start_time.clone().unwrap_or_else(|| time::whole(now))),
        conditions: not_empty(conditions::foreign(old).cloned().collect()),
        ..kept(old)
    }
}

/// Kubelet's own sentences stand for themselves; ours need the field.
fn sentence(reason: &str, problem: &Problem) -> String {
    if reason == UNSUPPORTED {
        problem.to_string()
    } else {
        problem.message.clone()
    }
}

/// The status of a pod that waits for objects which it refers to.
pub fn waiting(pod: &Pod, problems: &[Problem], node: &Node, now: Timestamp) -> PodStatus {
    let no_spec = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let mut seen = schedule::PodStatus {
        phase: schedule::Phase::Pending.into(),
        ..Default::default()
    };
    for (_, init, container) in containers(spec) {
        let problem = problems.iter().find(
            |problem| matches!(&problem.kind, Kind::Config { container: name } if *name == container.name),
        );
        let state = problem.map(|problem| schedule::ContainerState {
            state: Some(schedule::container_state::State::Waiting(schedule::Waiting {
                reason: "CreateContainerConfigError".to_owned(),
                message: problem.message.clone(),
            })),
        });
        let status = schedule::ContainerStatus {
            name: container.name.clone(),
            state,
            ..Default::default()
        };
        if init {
            &mut seen.init_containers
        } else {
            &mut seen.containers
        }
        .push(status);
    }
    to_kubernetes(&seen, pod, node, now)
}

/// What is not ours to change.
fn kept(old: &PodStatus) -> PodStatus {
    PodStatus {
        nominated_node_name: old.nominated_node_name.clone(),
        resource_claim_statuses: old.resource_claim_statuses.clone(),
        extended_resource_claim_status: old.extended_resource_claim_status.clone(),
        node_allocatable_resource_claim_statuses: old.node_allocatable_resource_claim_statuses.clone(),
        volume_health: old.volume_health.clone(),
        ..PodStatus::default()
    }
}

fn start_time(scope: Scope<'_>) -> Time {
    let seen = || time::from_proto(scope.seen.started_at.as_ref());
    scope
        .old
        .start_time
        .clone()
        .or_else(seen)
        .unwrap_or_else(|| time::whole(scope.now))
}

/// At most one address a family, the node's first family before the other; an ended pod keeps those it had.
fn addresses(status: &mut PodStatus, scope: Scope<'_>, node: &Node) {
    let v6_first = node.addresses.first().is_some_and(|address| address.is_ipv6());
    let own: Vec<String> = node.addresses.iter().take(2).map(ToString::to_string).collect();
    let parsed = scope.seen.sandbox.iter().flat_map(|sandbox| &sandbox.addresses);
    let parsed: Vec<std::net::IpAddr> = parsed.filter_map(|address| address.parse().ok()).collect();
    let first_of = |v6: bool| {
        parsed
            .iter()
            .find(|address| address.is_ipv6() == v6)
            .map(ToString::to_string)
    };
    let mut pod: Vec<String> = [v6_first, !v6_first].into_iter().filter_map(first_of).collect();
    if pod.is_empty() {
        pod = scope
            .old
            .pod_ips
            .iter()
            .flatten()
            .map(|address| address.ip.clone())
            .collect();
    }
    if pod.is_empty() && scope.spec.host_network == Some(true) {
        pod.clone_from(&own);
    }
    status.host_ip = own.first().cloned().or_else(|| scope.old.host_ip.clone());
    status.host_ips = not_empty(own.into_iter().map(|ip| HostIP { ip }).collect());
    status.host_ips = status.host_ips.take().or_else(|| scope.old.host_ips.clone());
    status.pod_ip = pod.first().cloned();
    status.pod_ips = not_empty(pod.into_iter().map(|ip| PodIP { ip }).collect());
}

fn not_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

const LISTS: &Lists = &[
    ("conditions", "type"),
    ("hostIPs", "ip"),
    ("podIPs", "ip"),
    ("resourceClaimStatuses", "name"),
    ("nodeAllocatableResourceClaimStatuses", "resourceClaimName"),
];

/// The body of a strategic merge patch of `pods/status` from `old` to `new`, with the uid as precondition; none where
/// nothing changed.
pub fn patch(old: &PodStatus, new: &PodStatus, uid: &str) -> Option<Value> {
    // A status serializes to JSON whatever it holds but for times beyond the calendar, which a Timestamp cannot be.
    let (old, new) = (serde_json::to_value(old).ok()?, serde_json::to_value(new).ok()?);
    let status = strategic::diff(&old, &new, LISTS)?;
    Some(json!({ "metadata": { "uid": uid }, "status": status }))
}

#[cfg(test)]
mod tests;
