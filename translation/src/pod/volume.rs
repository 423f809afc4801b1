//! Volumes.

use auraed_api::schedule::v0 as schedule;
use k8s_openapi::api::core::v1::Pod;

use crate::{Node, Objects, Problem};

/// The content of each volume of files, to replace what a running pod has.
pub fn volumes(
    _pod: &Pod,
    _objects: &Objects,
    _node: &Node,
) -> Result<Vec<(String, schedule::Files)>, Vec<Problem>> {
    Ok(Vec::new())
}
