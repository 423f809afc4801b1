//! The pods' subnets that the cluster assigned to the node, handed to auraed, as kubelet hands them to its runtime.
//!
//! auraed keeps them, so each is told once in this program's life; what failed is told again with the next report.

use auraed_api::runtime::v0::{AssignPodSubnetsRequest, AssignPodSubnetsResponse, PodSubnetUse};
use k8s_openapi::api::core::v1::Node;

use crate::aurae::{Aurae, reason};

/// What auraed was told of them.
#[derive(Debug, Default)]
pub(super) struct Subnets {
    told: Vec<String>,
    failure: String,
}

impl Subnets {
    /// Tells auraed, where the Node says something that it was not told yet.
    pub(super) async fn tell(&mut self, aurae: &Aurae, node: &Node) {
        let subnets = of(node);
        if subnets.is_empty() || subnets == self.told {
            return;
        }
        let request = AssignPodSubnetsRequest {
            subnets: subnets.clone(),
        };
        match aurae.control.runtime().assign_pod_subnets(request).await {
            Ok(assigned) => {
                let outcome = outcome(&assigned.into_inner());
                tracing::info!(?subnets, outcome, "the cluster assigned subnets to the node");
                self.told = subnets;
                self.failure.clear();
            }
            Err(status) => {
                let failure = reason(&status);
                if failure != self.failure {
                    tracing::warn!(
                        ?subnets,
                        error = failure,
                        "auraed does not take the node's subnets, trying again"
                    );
                    self.failure = failure;
                }
            }
        }
    }
}

/// One, or one of each family. The older field holds the first.
fn of(node: &Node) -> Vec<String> {
    let Some(spec) = &node.spec else {
        return Vec::new();
    };
    match &spec.pod_cidrs {
        Some(subnets) if !subnets.is_empty() => subnets.clone(),
        _ => spec.pod_cidr.iter().cloned().collect(),
    }
}

fn outcome(assigned: &AssignPodSubnetsResponse) -> &'static str {
    match assigned.r#use() {
        PodSubnetUse::Served if assigned.unused.is_empty() => "new pods get their addresses there",
        PodSubnetUse::Served => "new pods get their addresses there, of one family alone",
        PodSubnetUse::Configured => "auraed's configuration names another, which stays",
        PodSubnetUse::Plugins => "network plugins decide about addresses",
        PodSubnetUse::NoNetwork => "there is no pod network",
        PodSubnetUse::Unspecified => "auraed does not say what became of them",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_nodes_subnets_are_found() {
        let of = |spec: Value| of(&serde_json::from_value(json!({ "spec": spec })).expect("a node"));
        assert_eq!(of(json!({})), Vec::<String>::new());
        assert_eq!(of(json!({ "podCIDR": "10.1.0.0/24" })), ["10.1.0.0/24"]);
        let both = json!({ "podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"] });
        assert_eq!(of(both), ["10.1.0.0/24", "fd00::/64"]);
    }
}
