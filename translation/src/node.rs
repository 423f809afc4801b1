//! The node as Kubernetes sees it: what a translation asks of it, and the builders of its Node and Lease.

use std::collections::BTreeMap;
use std::net::IpAddr;

use auraed_api::observe::v0::GetNodeResponse;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    self, DaemonEndpoint, NodeAddress, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};

mod conditions;
mod resources;

/// The namespace of nodes' leases.
pub const LEASES: &str = "kube-node-lease";
/// How long a lease holds after its renewal, in seconds.
pub const LEASE_SECONDS: i32 = 40;
const OPERATING_SYSTEM: &str = "linux";

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

impl Node {
    /// A node without a cluster, from auraed's facts alone: all that it has is allocatable, and names are looked up where
    /// the machine looks them up.
    pub fn standalone(facts: &GetNodeResponse) -> Node {
        let registration = Registration {
            max_pods: 110,
            ..Registration::default()
        };
        Node {
            name: facts.hostname.to_lowercase(),
            hostname: facts.hostname.clone(),
            allocatable: resources::capacity(&registration, facts),
            ..Node::default()
        }
    }
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

/// Keeps the control plane's attach-detach controller in charge of volumes, as kubelet does.
const ATTACH_DETACH: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

/// The Node to create.
pub fn object(registration: &Registration, facts: &GetNodeResponse, now: Timestamp) -> v1::Node {
    let own = [
        ("kubernetes.io/hostname", hostname(registration, facts)),
        ("kubernetes.io/os", OPERATING_SYSTEM),
        ("kubernetes.io/arch", &facts.architecture),
        ("beta.kubernetes.io/os", OPERATING_SYSTEM),
        ("beta.kubernetes.io/arch", &facts.architecture),
    ];
    let mut labels: BTreeMap<String, String> = own
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    labels.extend(registration.labels.clone());
    v1::Node {
        metadata: ObjectMeta {
            name: Some(registration.name.clone()),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(ATTACH_DETACH.to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            provider_id: registration.provider_id.clone(),
            taints: Some(registration.taints.clone()).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(status(registration, facts, None, now)),
    }
}

/// The status to report; transition times are kept from `old` where a condition stands as it stood, and so is what others
/// write there.
pub fn status(
    registration: &Registration,
    facts: &GetNodeResponse,
    old: Option<&NodeStatus>,
    now: Timestamp,
) -> NodeStatus {
    let capacity = resources::capacity(registration, facts);
    let allocatable = resources::allocatable(&capacity, &registration.reserved);
    NodeStatus {
        addresses: Some(addresses(registration, facts)),
        conditions: Some(conditions::all(facts, &capacity, old, now)),
        capacity: Some(capacity),
        allocatable: Some(allocatable),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: i32::from(registration.port),
            }),
        }),
        node_info: Some(info(registration, facts)),
        declared_features: Some(registration.declared_features.clone())
            .filter(|features| !features.is_empty()),
        config: old.and_then(|old| old.config.clone()),
        images: old.and_then(|old| old.images.clone()),
        volumes_attached: old.and_then(|old| old.volumes_attached.clone()),
        ..NodeStatus::default()
    }
}

fn hostname<'a>(registration: &'a Registration, facts: &'a GetNodeResponse) -> &'a str {
    if registration.hostname.is_empty() {
        &facts.hostname
    } else {
        &registration.hostname
    }
}

fn addresses(registration: &Registration, facts: &GetNodeResponse) -> Vec<NodeAddress> {
    let internal = registration
        .addresses
        .iter()
        .map(|address| ("InternalIP", address.to_string()));
    let all = internal.chain([("Hostname", hostname(registration, facts).to_owned())]);
    all.map(|(kind, address)| NodeAddress {
        address,
        type_: kind.to_owned(),
    })
    .collect()
}

fn info(registration: &Registration, facts: &GetNodeResponse) -> NodeSystemInfo {
    // Kubernetes wants a version that it can compare, and no name without one.
    let version = if facts.version.is_empty() {
        "Unknown"
    } else {
        &facts.version
    };
    NodeSystemInfo {
        architecture: facts.architecture.clone(),
        boot_id: facts.boot_id.clone(),
        container_runtime_version: format!("aurae://{version}"),
        kernel_version: facts.kernel_version.clone(),
        kubelet_version: registration.kubelet_version.clone(),
        machine_id: facts.machine_id.clone(),
        operating_system: OPERATING_SYSTEM.to_owned(),
        os_image: facts.os_image.clone(),
        system_uuid: facts.system_uuid.clone(),
        ..NodeSystemInfo::default()
    }
}

/// The lease to create or put, renewed `now`; `old` is the one last seen, whose other fields are kept.
pub fn lease(node: &v1::Node, old: Option<&Lease>, now: Timestamp) -> Lease {
    let name = node.metadata.name.clone();
    let owner = node.metadata.uid.clone().map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone().unwrap_or_default(),
        uid,
        ..OwnerReference::default()
    });
    let mut lease = old.cloned().unwrap_or_default();
    lease.metadata.name.clone_from(&name);
    lease.metadata.namespace = Some(LEASES.to_owned());
    if let Some(owner) = owner {
        lease.metadata.owner_references = Some(vec![owner]);
    }
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = name;
    spec.lease_duration_seconds = Some(LEASE_SECONDS);
    spec.renew_time = Some(MicroTime(now));
    lease
}

#[cfg(test)]
mod tests;
