//! An Aurae status as a Kubernetes PodStatus, and the patch that carries it.

use auraed_api::schedule::v0 as schedule;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::Value;

use crate::{Node, Problem};

/// The status of `pod` as `seen`, with what the API's own status holds kept where it must be (`pod.status`).
pub fn to_kubernetes(_seen: &schedule::PodStatus, _pod: &Pod, _node: &Node, _now: Timestamp) -> PodStatus {
    PodStatus::default()
}

/// The status of a pod that this node will not run.
pub fn refused(_pod: &Pod, _problems: &[Problem], _now: Timestamp) -> PodStatus {
    PodStatus::default()
}

/// The status of a pod that waits for objects which it refers to.
pub fn waiting(_pod: &Pod, _problems: &[Problem], _node: &Node, _now: Timestamp) -> PodStatus {
    PodStatus::default()
}

/// A pod's quality of service class: `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos(_pod: &Pod) -> &'static str {
    "BestEffort"
}

/// The body of a strategic merge patch of `pods/status` from `old` to `new`, with the uid as precondition; none where
/// nothing changed.
pub fn patch(_old: &PodStatus, _new: &PodStatus, _uid: &str) -> Option<Value> {
    None
}
