//! Why a pod's network could not be made or taken down.

use auraed_sandbox::network::NetworkError;
use auraed_state::StateError;

/// Why a pod's network could not be made or taken down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkFailure {
    /// The configuration says that there is none.
    #[error("this node has no pod network")]
    Disabled,
    /// The embedded network's subnet holds no pod.
    #[error("the pod network has no addresses")]
    NoAddresses,
    /// Addresses cannot be read or written.
    #[error("cannot give out or take back an address")]
    Address(#[source] StateError),
    /// The embedded network failed.
    #[error(transparent)]
    Embedded(#[from] NetworkError),
}
