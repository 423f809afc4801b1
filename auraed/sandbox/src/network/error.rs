//! What the pod network does without, and why it fails.

use std::io;

use thiserror::Error;

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
    /// A limit of bandwidth is asked for, but the kernel has no token bucket filter.
    #[error(
        "limits of bandwidth need the queueing discipline tbf (CONFIG_NET_SCH_TBF), which this kernel lacks"
    )]
    NoLimits,
    /// Host ports are asked for, but the kernel has no nat.
    #[error("host ports need nftables nat for IPv4, which this kernel lacks")]
    NoNat,
}
