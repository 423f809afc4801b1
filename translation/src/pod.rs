//! A Kubernetes Pod as an Aurae Pod.

use auraed_api::schedule::v0 as schedule;
use k8s_openapi::api::core::v1::Pod;

use crate::{Kind, Node, Objects, Problem};

pub mod volume;

/// A field that this node cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field's path, as `spec.containers[0].volumeDevices`.
    pub field: String,
    /// What to know about it.
    pub reason: String,
}

/// Translates a pod with what it refers to. All problems are found, not only the first.
pub fn to_aurae(_pod: &Pod, _objects: &Objects, _node: &Node) -> Result<schedule::Pod, Vec<Problem>> {
    Err(vec![Problem {
        kind: Kind::Refused("UnsupportedPod"),
        field: String::new(),
        message: String::new(),
    }])
}

/// What in `pod` this node cannot serve, whatever exists beside it.
pub fn refusals(_pod: &Pod) -> Vec<Refusal> {
    Vec::new()
}
