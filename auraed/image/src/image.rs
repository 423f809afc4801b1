//! What this node knows of an image it has.

use std::collections::BTreeMap;

use jiff::Timestamp;
use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::document::Manifest;

/// An image whose layers are all on this node. Serializes to what [`crate::Index`] keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:…`, the digest of its configuration.
    pub id: String,
    /// `registry/repository:tag`, sorted.
    pub tags: Vec<String>,
    /// `registry/repository@sha256:…`, sorted.
    pub digests: Vec<String>,
    /// Bytes of configuration and layers, compressed.
    pub size_bytes: u64,
    /// As its maker says.
    pub created_at: Option<Timestamp>,
    /// As Go names it: amd64, arm64.
    pub architecture: String,
    /// linux.
    pub os: String,
    /// What a container of it starts with.
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// The names of the directories that make its root, top first; see `layers`.
    pub(crate) stack: Vec<String>,
    /// Removed while containers used it: nothing finds it by its names, which are those it had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) retired: bool,
}

/// The defaults for a container of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// uid or name, with an optional :gid or :group; empty is root.
    pub user: String,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Before the arguments.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub command: Vec<String>,
    /// Empty is `/`.
    pub working_directory: String,
    /// `SIGTERM`, `15` or the like; empty is SIGTERM.
    pub stop_signal: String,
    /// As its maker says.
    pub labels: BTreeMap<String, String>,
    /// Paths that its maker declared as volumes, sorted.
    pub volumes: Vec<String>,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of the inflated layer; names its directory.
    pub diff_id: Digest,
    /// The digest of the blob that was fetched.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size_bytes: u64,
}

impl Image {
    /// An image without names, and without a stack yet.
    pub(crate) fn new(manifest: &Manifest, config: &ImageConfiguration, diff_ids: &[Digest]) -> Image {
        let layers = manifest.layers.iter().zip(diff_ids).map(|(blob, diff_id)| Layer {
            diff_id: diff_id.clone(),
            digest: blob.digest.clone(),
            size_bytes: blob.size,
        });
        let layers: Vec<_> = layers.collect();
        let size = layers.iter().fold(manifest.config.size, |sum, layer| {
            sum.saturating_add(layer.size_bytes)
        });
        Image {
            id: manifest.config.digest.to_string(),
            tags: Vec::new(),
            digests: Vec::new(),
            size_bytes: size,
            created_at: config.created().as_deref().and_then(|time| time.parse().ok()),
            architecture: config.architecture().to_string(),
            os: config.os().to_string(),
            config: ImageConfig::from(config),
            layers,
            stack: Vec::new(),
            retired: false,
        }
    }
}

impl From<&ImageConfiguration> for ImageConfig {
    fn from(configuration: &ImageConfiguration) -> ImageConfig {
        let Some(config) = configuration.config() else {
            return ImageConfig::default();
        };
        let mut volumes = config.volumes().clone().unwrap_or_default();
        volumes.sort();
        ImageConfig {
            user: config.user().clone().unwrap_or_default(),
            env: config.env().clone().unwrap_or_default(),
            entrypoint: config.entrypoint().clone().unwrap_or_default(),
            command: config.cmd().clone().unwrap_or_default(),
            working_directory: config.working_dir().clone().unwrap_or_default(),
            stop_signal: config.stop_signal().clone().unwrap_or_default(),
            labels: config.labels().clone().unwrap_or_default().into_iter().collect(),
            volumes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What docker and buildkit write, nulls included.
    const DOCKER: &str = r#"{"architecture":"amd64","os":"linux","created":"2024-05-06T07:08:09.123456789Z",
        "config":{"Hostname":"","User":"1000:1000","ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"Cmd":["sh"],
        "Image":"","Volumes":{"/b":{},"/a":{}},"WorkingDir":"/srv","Entrypoint":null,"OnBuild":null,
        "Labels":null,"StopSignal":"SIGQUIT","Healthcheck":{"Test":["NONE"]}},
        "container_config":{},"docker_version":"1","rootfs":{"type":"layers","diff_ids":[]},"history":[]}"#;

    /// What an index kept before the form last changed.
    const GOLDEN: &str = include_str!("image/golden.json");

    #[test]
    fn a_configuration_of_docker_is_read() {
        let configuration: ImageConfiguration = serde_json::from_str(DOCKER).unwrap();
        let config = ImageConfig::from(&configuration);
        assert_eq!(config.user, "1000:1000");
        assert_eq!(config.volumes, ["/a", "/b"]);
        assert_eq!(
            (config.entrypoint.len(), config.command),
            (0, vec!["sh".to_owned()])
        );
        assert_eq!(config.stop_signal, "SIGQUIT");
    }

    #[test]
    fn the_form_on_disk_is_the_golden_one() {
        let image: Image = serde_json::from_str(GOLDEN).unwrap();
        assert_eq!(serde_json::to_string_pretty(&image).unwrap(), GOLDEN.trim_end());
    }
}
