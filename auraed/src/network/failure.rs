//! Why a pod's network could not be made or taken down.

use std::io;
use std::path::PathBuf;

use auraed_sandbox::network::NetworkError;
use auraed_state::StateError;

/// Why a pod's network could not be made or taken down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkFailure {
    /// The configuration says that there is none.
    #[error("this node has no pod network")]
    Disabled,
    /// Plugins are wanted, but no configuration of them is there. Peers say it in these words.
    #[error("cni plugin not initialized: no usable configuration in {}{reason}", directory.display())]
    NotConfigured {
        /// Where it was looked for.
        directory: PathBuf,
        /// What is wrong with the first file there, after a colon; empty if there is none.
        reason: String,
    },
    /// The embedded network's subnet holds no pod.
    #[error("the pod network has no addresses")]
    NoAddresses,
    /// Plugins made a network without an address in it.
    #[error("the CNI network {0:?} gave no address")]
    NoAddress(String),
    /// Addresses cannot be read or written.
    #[error("cannot give out or take back an address")]
    Address(#[source] StateError),
    /// A network namespace for plugins could not be made.
    #[error("cannot make a network namespace")]
    Namespace(#[source] io::Error),
    /// What is said to plugins cannot be written.
    #[error("cannot write down what network plugins are told")]
    Capability(#[source] serde_json::Error),
    /// The embedded network failed.
    #[error(transparent)]
    Embedded(#[from] NetworkError),
    /// Plugins failed.
    #[error(transparent)]
    Cni(#[from] auraed_cni::Error),
}
