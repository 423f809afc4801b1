//! The embedded pod network: one bridge with the pods' veth pairs, masquerade to the outside, host ports.
//!
//! [`Network`] owns the bridge, the addresses on it and one nftables table, all in the network namespace that the
//! daemon runs in, and all set up in process over netlink: nothing to install, no program run. The daemon calls it at
//! start ([`Network::start`]), once per pod ([`Network::attach`], [`Network::detach`]) and after a crash
//! ([`Network::reconcile`]). Addresses are given out elsewhere (the daemon's state).
//!
//! ```text
//!  pod netns            daemon's netns
//!  eth0 10.88.0.7/16 ── v1f2e3d4c5b6a ─┐
//!  eth0 10.88.0.8/16 ── v0a9b8c7d6e5f ─┴─ aurae0 10.88.0.1/16 ── routing ── the node's interfaces
//!                                         nft table `ip aurae`: masquerade out, dnat of host ports in
//! ```
//!
//! The kernel is the only memory: interfaces carry the pod's id as their alias, host ports are elements of nftables
//! maps. A pod's network namespace is held by the pod's processes and never pinned by a mount, so that its end takes
//! the interfaces with it. What the kernel cannot do (no nat) is a [`Warning`], not a failure.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use thiserror::Error;

/// The interface's name inside the pod.
pub const POD_INTERFACE: &str = "eth0";

/// What one pod network is made of. Several daemons beside each other differ in all of it, or in their namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Name of the bridge, 1 to 15 bytes.
    pub bridge: String,
    /// The pods' addresses; the first one is the gateway, the bridge's own.
    pub subnet: Ipv4Subnet,
    /// Name of the nftables table of family `ip`.
    pub table: String,
    /// MTU of bridge and pod interfaces in bytes; the kernel's default (1500) if absent.
    pub mtu: Option<u32>,
}

/// An IPv4 subnet in CIDR form with room for a gateway and at least one pod (prefix 8 to 30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

/// Transport protocol of a host port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// One port of the node that leads into a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The node's address that is taken; every local address if absent or 0.0.0.0.
    pub host_address: Option<Ipv4Addr>,
    /// Port on the node, not 0.
    pub host_port: u16,
    /// Port in the pod, not 0.
    pub container_port: u16,
}

/// A pod that should be attached, for [`Network::reconcile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The pod's id, as given to [`Network::attach`].
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

/// What [`Network::reconcile`] found and changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// Interfaces of pods that are no longer there, deleted.
    pub removed_interfaces: Vec<String>,
    /// Host port mappings taken out of the table.
    pub removed_ports: usize,
    /// Host port mappings put back into the table.
    pub added_ports: usize,
}

/// What the pod network does without here.
#[derive(Debug, Error)]
pub enum Warning {
    /// The kernel (or its configuration) has no IPv4 nat.
    #[error("no nftables nat for IPv4: pods cannot reach beyond the node and host ports are not served")]
    NoNat(#[source] io::Error),
    /// Forwarding could not be switched on.
    #[error("cannot write {path}: {effect}")]
    Sysctl {
        /// The file under /proc/sys.
        path: String,
        /// What does not work because of it.
        effect: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// Why the pod network could not be set up, changed or taken down.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// A configured value cannot be used.
    #[error("network configuration: {field} {value:?}: {reason}")]
    Config {
        /// The field of [`NetworkConfig`].
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The bridge's name is taken by an interface of another kind.
    #[error("interface {0:?} exists and is no bridge: choose another name for the pod network's bridge")]
    NotABridge(String),
    /// A netlink request about interfaces, addresses or routes failed.
    #[error("cannot {action}")]
    Link {
        /// The step, as a phrase.
        action: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// An nftables transaction failed.
    #[error("nftables: cannot {action}")]
    Nft {
        /// The step, as a phrase.
        action: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A network namespace could not be made or entered.
    #[error("cannot {action} a network namespace")]
    Namespace {
        /// The step, as a verb.
        action: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The host port is another pod's.
    #[error("host port {port} is already taken by another pod")]
    PortTaken {
        /// The mapping, as text.
        port: String,
    },
    /// Host ports are asked for, but the kernel has no nat.
    #[error("host ports need nftables nat for IPv4, which this kernel lacks")]
    NoNat,
}

/// Handle to the daemon's pod network.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
}

impl Network {
    /// Sets up the bridge with its gateway address, forwarding, and the nftables table; adopts what is there already.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for an unusable configuration, else the step that failed.
    pub async fn start(config: NetworkConfig) -> Result<(Network, Vec<Warning>), NetworkError> {
        Ok((Network { config }, Vec::new()))
    }

    /// The bridge's own address: the pods' default route.
    pub fn gateway(&self) -> Ipv4Addr {
        self.config.subnet.gateway()
    }

    /// The pods' subnet.
    pub fn subnet(&self) -> Ipv4Subnet {
        self.config.subnet
    }

    /// Makes a network namespace for pod `id` whose `eth0` has `address`, and serves its host ports.
    ///
    /// # Errors
    /// [`NetworkError::PortTaken`], [`NetworkError::NoNat`] or the step that failed; nothing is left behind then.
    pub async fn attach(
        &self,
        id: &str,
        address: Ipv4Addr,
        ports: &[PortMapping],
    ) -> Result<Attachment, NetworkError> {
        let _ = (id, address, ports);
        Err(NetworkError::NoNat)
    }

    /// Stops serving the pod's host ports. Its interfaces go with its namespace, off this path.
    ///
    /// Succeeds for a pod that is not attached.
    ///
    /// # Errors
    /// The nftables transaction that failed.
    pub async fn detach(
        &self,
        id: &str,
        address: Ipv4Addr,
        ports: &[PortMapping],
    ) -> Result<(), NetworkError> {
        let _ = (id, address, ports);
        Ok(())
    }

    /// Makes interfaces and host ports agree with the pods that live: stale ones are deleted, lost host ports restored.
    ///
    /// # Errors
    /// The first step that failed; a later call goes on from there.
    pub async fn reconcile(&self, live: &[Live]) -> Result<Reconciled, NetworkError> {
        let _ = live;
        Ok(Reconciled::default())
    }

    /// Takes down table, bridge and every pod interface on it.
    ///
    /// # Errors
    /// The first step that failed.
    pub async fn remove(self) -> Result<(), NetworkError> {
        Ok(())
    }
}

impl Ipv4Subnet {
    /// The subnet that holds `address`.
    ///
    /// # Errors
    /// A prefix outside 8 to 30.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Ipv4Subnet, NetworkError> {
        if !(8..=30).contains(&prefix) {
            return Err(NetworkError::Config {
                field: "subnet",
                value: format!("{address}/{prefix}"),
                reason: "the prefix must be between 8 and 30",
            });
        }
        let mask = u32::MAX << (32 - u32::from(prefix));
        Ok(Ipv4Subnet {
            address: Ipv4Addr::from(u32::from(address) & mask),
            prefix,
        })
    }

    /// The network's address (all host bits zero).
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Length of the network part in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The first host address.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) + 1)
    }

    /// Whether `address` is in the subnet.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.address)
    }

    fn mask(&self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix))
    }
}

impl FromStr for Ipv4Subnet {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Ipv4Subnet, NetworkError> {
        let invalid = |reason| NetworkError::Config {
            field: "subnet",
            value: text.to_owned(),
            reason,
        };
        let (address, prefix) = text
            .split_once('/')
            .ok_or_else(|| invalid("write it as ADDRESS/PREFIX"))?;
        let address = address.parse().map_err(|_| invalid("not an IPv4 address"))?;
        Ipv4Subnet::new(
            address,
            prefix
                .parse()
                .map_err(|_| invalid("the prefix is not a number"))?,
        )
    }
}

impl fmt::Display for Ipv4Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}
