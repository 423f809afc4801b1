//! What is asked of the network, and what comes of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use auraed_sandbox::UserNamespace;
use auraed_sandbox::network::PortMapping;

/// Who wants a network of its own, and what it should be like.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The owner: unique on the node, among pods and sandboxes together.
    pub id: String,
    /// Its name, for plugins and people.
    pub name: String,
    /// Its namespace, likewise.
    pub namespace: String,
    /// Whose it is to the caller of the API; its own id if that has no other.
    pub uid: String,
    /// For plugins: names and values, neither with a `;` or `=`.
    pub arguments: BTreeMap<String, String>,
    /// Ports of the node that lead to it.
    pub ports: Vec<PortMapping>,
    /// Bits a second that it may receive; 0 is unlimited.
    pub ingress_bits: u64,
    /// Bits a second that it may send; 0 is unlimited.
    pub egress_bits: u64,
    /// What its containers have as /etc/resolv.conf, where the caller says so.
    pub dns: Dns,
    /// Whose the network namespace is; none means the node's.
    pub user_namespace: Option<UserNamespace>,
}

/// Names and how they are looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of servers.
    pub servers: Vec<String>,
    /// Domains that are searched.
    pub searches: Vec<String>,
    /// As in resolv.conf(5).
    pub options: Vec<String>,
}

/// A network namespace that is ready.
#[derive(Debug)]
pub struct Attached {
    /// It lives as long as this descriptor or a process in it.
    pub namespace: OwnedFd,
    /// The first is the primary one; there is at least one.
    pub addresses: Vec<IpAddr>,
}
