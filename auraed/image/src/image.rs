//! What this node knows of an image it has.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Digest;

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
    /// The layer directory that restores the metadata of directories which upper layers only imply, if that took one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) correction: Option<String>,
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
