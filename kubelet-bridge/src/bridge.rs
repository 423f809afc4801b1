//! Builds the parts, starts them, and ends them together.

use crate::aurae::Aurae;
use crate::cluster::{Cluster, ClusterError};
use crate::flags::Settings;

/// Why the bridge cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// There is no way to the cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Runs until it is told to end (SIGTERM, SIGINT).
///
/// # Errors
/// Where something is wrong that waiting does not mend.
pub async fn run(settings: Settings) -> Result<(), BridgeError> {
    let _aurae = Aurae::new(settings.aurae_socket.clone(), settings.aurae_identity.clone());
    let _cluster = match &settings.kubeconfig {
        Some(path) => Some(Cluster::load(path, &settings.node.name).await?),
        None => None,
    };
    Ok(())
}
