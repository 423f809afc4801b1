//! What a pod is to have of the network, and what it has.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use super::{Ipv4Subnet, PortMapping};
use crate::UserNamespace;

/// What a pod is to have of the network, for [`Network::attach`](super::Network::attach).
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// The pod's id.
    pub id: &'a str,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// Of which subnet that is: one of those that are served.
    pub subnet: Ipv4Subnet,
    /// Host ports that lead to it.
    pub ports: &'a [PortMapping],
    /// What it may send and receive.
    pub limits: Limits,
    /// Whose the network namespace is; none means the node's.
    pub user: Option<&'a UserNamespace>,
}

/// Bandwidth of a pod in bits a second; 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// What it may receive.
    pub ingress_bits: u64,
    /// What it may send.
    pub egress_bits: u64,
}

/// A pod that should be attached, for [`Network::reconcile`](super::Network::reconcile).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The pod's id, as given to [`Network::attach`](super::Network::attach).
    pub id: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// The pod's host ports.
    pub ports: Vec<PortMapping>,
}

/// A pod's fresh network namespace with its interface up and addressed.
#[derive(Debug)]
pub struct Attachment {
    /// The namespace; it lives as long as this descriptor or a process in it.
    pub netns: OwnedFd,
    /// Name of the interface's end on the bridge.
    pub interface: String,
}

/// What [`Network::reconcile`](super::Network::reconcile) found and changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// Interfaces of pods that are no longer there, deleted.
    pub removed_interfaces: Vec<String>,
    /// Host port mappings taken out of the table.
    pub removed_ports: usize,
    /// Host port mappings put back into the table.
    pub added_ports: usize,
}
