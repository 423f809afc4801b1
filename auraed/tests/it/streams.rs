//! Streams of what runs: attach, exec, port-forward, on pods and on sandboxes.

mod attach;
mod exec;
mod port_forward;

use crate::node::Node;
use crate::sandboxes::{container, sandbox};
use auraed_api::runtime::v0 as api;

/// A sandbox with one container of the same name, which runs a script.
async fn running(node: &Node, id: &str, script: &str, change: impl FnOnce(&mut api::ContainerSpec)) {
    node.make(sandbox(id)).await.unwrap();
    let mut spec = container(id, id, script);
    change(&mut spec);
    node.make_container(spec).await.unwrap();
    node.start_container(id).await.unwrap();
}

/// A container of the executive.
fn by_id(id: &str) -> api::ContainerReference {
    api::ContainerReference {
        pod: String::new(),
        container: id.into(),
    }
}
