//! A sandbox: what is asked for, and how it is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Component, Path};

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;
use cri_api::v1::NamespaceMode as Mode;

use super::{Refused, id, namespaces};

mod bandwidth;
mod status;

pub(super) use status::metadata;
pub use status::{item, status, status_response};

/// What auraed is asked for.
///
/// # Errors
/// [`Refused`], with fields below `config`.
pub fn spec(config: &cri::PodSandboxConfig, runtime_handler: &str) -> Result<aurae::SandboxSpec, Refused> {
    let mut refused = Refused::default();
    let metadata = config.metadata.clone().unwrap_or_default();
    if metadata.name.is_empty() {
        refused.add("config.metadata.name", "must not be empty");
    }
    if config.windows.is_some() {
        refused.add("config.windows", "this node is not a Windows node");
    }
    check_directory(&config.log_directory, "config.log_directory", &mut refused);
    let linux = config.linux.clone().unwrap_or_default();
    let security = linux.security_context.unwrap_or_default();
    if security.run_as_group.is_some() && security.run_as_user.is_none() {
        refused.add(
            "config.linux.security_context.run_as_group",
            "a group needs run_as_user",
        );
    }
    let options = security.namespace_options.unwrap_or_default();
    let field = |name: &str| format!("config.linux.security_context.namespace_options.{name}");
    let (ingress_bandwidth, egress_bandwidth) = bandwidth::of(&config.annotations, &mut refused);
    let spec = aurae::SandboxSpec {
        id: id::sandbox(&metadata),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        hostname: config.hostname.clone(),
        log_directory: config.log_directory.clone(),
        dns: config.dns_config.as_ref().and_then(dns),
        ports: ports(&config.port_mappings, &mut refused),
        cgroup_parent: absolute(&linux.cgroup_parent),
        network: namespaces::mode(
            options.network,
            &[Mode::Pod, Mode::Node],
            field("network"),
            &mut refused,
        ),
        pid: namespaces::mode(
            options.pid,
            &[Mode::Pod, Mode::Container, Mode::Node],
            field("pid"),
            &mut refused,
        ),
        ipc: namespaces::mode(
            options.ipc,
            &[Mode::Pod, Mode::Container, Mode::Node],
            field("ipc"),
            &mut refused,
        ),
        user_namespace: namespaces::user(
            options.userns_options.as_ref(),
            &field("userns_options"),
            &mut refused,
        ),
        sysctls: linux.sysctls,
        // What the containers declare, added up: a container that declares nothing would be bound by what others do.
        // The pod's own bounds are of the cgroup that the caller made, and this sandbox is in it.
        resources: None,
        runtime_handler: runtime_handler.to_owned(),
        privileged: security.privileged,
        network_arguments: network_arguments(&metadata),
        ingress_bandwidth,
        egress_bandwidth,
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        attempt: metadata.attempt,
    };
    refused.unless(spec)
}

/// Nothing, or a path from the root that does not lead back up.
pub(super) fn check_directory(path: &str, field: &str, refused: &mut Refused) {
    if path.is_empty() {
        return;
    }
    if !path.starts_with('/') {
        refused.add(field, format!("{path:?} must be absolute"));
    }
    if leads_up(path) {
        refused.add(field, format!("{path:?} must not hold \"..\""));
    }
}

/// Whether a path has a part that leads up.
pub(super) fn leads_up(path: &str) -> bool {
    Path::new(path)
        .components()
        .any(|component| component == Component::ParentDir)
}

/// An empty configuration is none: the node's own.
fn dns(config: &cri::DnsConfig) -> Option<aurae::SandboxDns> {
    let cri::DnsConfig {
        servers,
        searches,
        options,
    } = config.clone();
    let empty = servers.is_empty() && searches.is_empty() && options.is_empty();
    (!empty).then_some(aurae::SandboxDns {
        servers,
        searches,
        options,
    })
}

fn ports(mappings: &[cri::PortMapping], refused: &mut Refused) -> Vec<aurae::SandboxPort> {
    let mut ports = Vec::with_capacity(mappings.len());
    for (index, mapping) in mappings.iter().enumerate() {
        let field = |name: &str| format!("config.port_mappings[{index}].{name}");
        let mut port = |name, value: i32| {
            let port: u16 = refused.number(field(name), value.into());
            u32::from(port)
        };
        let (container_port, host_port) = (
            port("container_port", mapping.container_port),
            port("host_port", mapping.host_port),
        );
        let protocol = match cri::Protocol::try_from(mapping.protocol) {
            Ok(cri::Protocol::Tcp) => aurae::Protocol::Unspecified,
            Ok(cri::Protocol::Udp) => aurae::Protocol::Udp,
            Ok(cri::Protocol::Sctp) => aurae::Protocol::Sctp,
            Err(_) => {
                refused.add(field("protocol"), "unknown protocol");
                aurae::Protocol::Unspecified
            }
        };
        if !mapping.host_ip.is_empty() && mapping.host_ip.parse::<IpAddr>().is_err() {
            refused.add(field("host_ip"), format!("{:?} is no address", mapping.host_ip));
        }
        ports.push(aurae::SandboxPort {
            protocol: protocol as i32,
            container_port,
            host_port,
            host_address: mapping.host_ip.clone(),
        });
    }
    ports
}

/// Crictl's examples leave the first slash out.
fn absolute(cgroup_parent: &str) -> String {
    if cgroup_parent.is_empty() || cgroup_parent.starts_with('/') {
        cgroup_parent.to_owned()
    } else {
        format!("/{cgroup_parent}")
    }
}

/// What network plugins are told of a pod, in the names that all of them know.
fn network_arguments(metadata: &cri::PodSandboxMetadata) -> HashMap<String, String> {
    let id = id::sandbox(metadata);
    [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", &metadata.namespace),
        ("K8S_POD_NAME", &metadata.name),
        ("K8S_POD_INFRA_CONTAINER_ID", &id),
        ("K8S_POD_UID", &metadata.uid),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}
