//! What the runtime can do, and whether it is ready.

use crate::network::PodNetwork;
use auraed_api::runtime::v0 as api;
use std::path::{Path, PathBuf};

/// What a caller may want to know of the node.
#[derive(Clone)]
pub struct About {
    /// What sandboxes are attached to.
    pub network: PodNetwork,
    /// Where images are. Absolute.
    pub images: PathBuf,
    /// Where containers' writable layers are. Absolute.
    pub containers: PathBuf,
}

/// Tells all of it.
pub(super) async fn info(about: &About) -> api::GetRuntimeResponse {
    let network = about.network.status().await;
    api::GetRuntimeResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        network_ready: network.is_ok(),
        network_message: network.err().unwrap_or_default(),
        handlers: vec![api::RuntimeHandler {
            name: String::new(),
            recursive_read_only_mounts: true,
            user_namespaces: has_user_namespaces(Path::new("/proc")),
        }],
        image_directory: about.images.display().to_string(),
        container_directory: about.containers.display().to_string(),
        supplemental_groups_policy: true,
    }
}

/// Whether the kernel has them, and lets some be made.
fn has_user_namespaces(proc: &Path) -> bool {
    let limit = fs_err::read_to_string(proc.join("sys/user/max_user_namespaces"));
    limit.is_ok_and(|limit| limit.trim().parse().is_ok_and(|limit: u64| limit > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_user_namespaces_has_none() {
        let proc = tempfile::tempdir().unwrap();
        assert!(!has_user_namespaces(proc.path()));
        let file = proc.path().join("sys/user/max_user_namespaces");
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        for (content, expected) in [("0\n", false), ("31000\n", true), ("x", false)] {
            fs_err::write(&file, content).unwrap();
            assert_eq!(has_user_namespaces(proc.path()), expected, "{content:?}");
        }
    }
}
