//! What the runtime can do, and whether it is ready.

use crate::network::PodNetwork;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::Host;
use std::path::PathBuf;
use std::sync::Arc;

/// What a caller may want to know of the node.
#[derive(Clone)]
pub struct About {
    /// What the kernel can do.
    pub host: Arc<Host>,
    /// What sandboxes are attached to.
    pub network: PodNetwork,
    /// Where images are. Absolute.
    pub images: PathBuf,
    /// Where containers' writable layers are. Absolute.
    pub containers: PathBuf,
    /// Runtime handlers that mean what the default one means.
    pub handlers: Vec<String>,
}

/// Tells all of it.
pub(super) async fn info(about: &About) -> api::GetRuntimeResponse {
    let network = about.network.status().await;
    let host = Arc::clone(&about.host);
    // It is tried once, which takes a moment.
    let user_namespaces = tokio::task::spawn_blocking(move || host.user_namespaces_supported());
    let user_namespaces = user_namespaces.await.unwrap_or(false);
    let names = std::iter::once(String::new()).chain(about.handlers.iter().cloned());
    api::GetRuntimeResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        network_ready: network.is_ok(),
        network_message: network.err().unwrap_or_default(),
        handlers: names
            .map(|name| api::RuntimeHandler {
                name,
                recursive_read_only_mounts: about.host.recursive_read_only_supported(),
                user_namespaces,
            })
            .collect(),
        image_directory: about.images.display().to_string(),
        container_directory: about.containers.display().to_string(),
        supplemental_groups_policy: true,
    }
}
