//! The node as Kubernetes sees it: what a translation asks of it, and the builders of its Node and Lease.

use std::collections::BTreeMap;
use std::net::IpAddr;

use auraed_api::observe::v0::GetNodeResponse;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{self, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What a translation asks of the node.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// The machine's host name, for pods on the host's network.
    pub hostname: String,
    /// Its internal addresses, the primary family's first.
    pub addresses: Vec<IpAddr>,
    /// `cluster.local`; empty means none.
    pub cluster_domain: String,
    /// Name servers for ClusterFirst; none means that ClusterFirst falls back to Default.
    pub cluster_dns: Vec<IpAddr>,
    /// The search domains of the machine's own resolv.conf, which ClusterFirst appends.
    pub host_searches: Vec<String>,
    /// What pods may use, by resource.
    pub allocatable: BTreeMap<String, Quantity>,
    /// Pods without a seccomp profile get RuntimeDefault (kubelet's seccompDefault).
    pub seccomp_default: bool,
    /// Sysctls beside the safe ones; `net.core.*` is a prefix.
    pub allowed_unsafe_sysctls: Vec<String>,
}

/// What this node tells the API server, from configuration.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    /// `metadata.name`, lower case.
    pub name: String,
    /// The machine's host name; empty takes auraed's answer.
    pub hostname: String,
    /// InternalIP addresses, in order.
    pub addresses: Vec<IpAddr>,
    /// `--node-labels`.
    pub labels: BTreeMap<String, String>,
    /// `--register-with-taints`, at creation alone.
    pub taints: Vec<Taint>,
    /// `spec.providerID`.
    pub provider_id: Option<String>,
    /// Where the kubelet API listens.
    pub port: u16,
    /// The most pods at once.
    pub max_pods: u32,
    /// kube- and system-reserved together, by resource.
    pub reserved: BTreeMap<String, Quantity>,
    /// `v1.37.2`: what clients take this node's API to be.
    pub kubelet_version: String,
    /// `status.declaredFeatures`.
    pub declared_features: Vec<String>,
}

/// The Node to create.
pub fn object(_registration: &Registration, _facts: &GetNodeResponse, _now: Timestamp) -> v1::Node {
    v1::Node::default()
}

/// The status to report; transition times are kept from `old` where a condition stands as it stood.
pub fn status(
    _registration: &Registration,
    _facts: &GetNodeResponse,
    _old: Option<&NodeStatus>,
    _now: Timestamp,
) -> NodeStatus {
    NodeStatus::default()
}

/// The lease to create or put, renewed `now`; `old` is the one last seen.
pub fn lease(_node: &v1::Node, _old: Option<&Lease>, _now: Timestamp) -> Lease {
    Lease::default()
}
