//! Pods from manifests: files of a static node, and what `aurae run -f` is given. YAML is read by the caller.
//!
//! A manifest has not been through an API server, so nobody has checked it: an unknown field is an error here, with its
//! path, and so is a kind that means nothing on one node.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::objects::Objects;

mod check;

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
        "document {document}: {kind} ({api_version}) cannot be used here: only Pod, PodList, List, ConfigMap, Secret and \
         Service of v1"
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
    #[error("document {document}: {field}: {message}")]
    Malformed {
        /// Counts from 1.
        document: usize,
        /// Its path, as far as it is known.
        field: String,
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
pub fn parse(documents: &[Value]) -> Result<Manifest, ManifestError> {
    let mut manifest = Manifest::default();
    for (index, document) in documents
        .iter()
        .enumerate()
        .filter(|(_, document)| !document.is_null())
    {
        manifest.add(index + 1, document)?;
    }
    Ok(manifest)
}

impl Manifest {
    fn add(&mut self, document: usize, value: &Value) -> Result<(), ManifestError> {
        let text = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version.is_empty() || kind.is_empty() {
            return Err(ManifestError::NotAnObject { document });
        }
        match (api_version.as_str(), kind.as_str()) {
            ("v1", "Pod") => {
                let pod: Pod = read(document, value)?;
                self.pods.push(pod);
            }
            ("v1", "ConfigMap") => {
                let map: ConfigMap = read(document, value)?;
                self.objects.config_maps.insert(key(&map.metadata), map);
            }
            ("v1", "Secret") => {
                let mut secret: Secret = read(document, value).map_err(without_values)?;
                let texts = secret.string_data.take().unwrap_or_default();
                let data = secret.data.get_or_insert_default();
                data.extend(
                    texts
                        .into_iter()
                        .map(|(key, text)| (key, k8s_openapi::ByteString(text.into_bytes()))),
                );
                self.objects.secrets.insert(key(&secret.metadata), secret);
            }
            ("v1", "Service") => self.objects.services.push(read(document, value)?),
            ("v1", "List" | "PodList") => {
                for item in value.get("items").and_then(Value::as_array).into_iter().flatten() {
                    let mut item = item.clone();
                    // Items of a typed list need not repeat the type.
                    if let Value::Object(fields) = &mut item
                        && kind == "PodList"
                    {
                        fields.entry("apiVersion").or_insert_with(|| "v1".into());
                        fields.entry("kind").or_insert_with(|| "Pod".into());
                    }
                    self.add(document, &item)?;
                }
            }
            _ => {
                return Err(ManifestError::Kind {
                    document,
                    api_version,
                    kind,
                });
            }
        }
        Ok(())
    }
}

fn key(metadata: &ObjectMeta) -> (String, String) {
    let namespace = metadata
        .namespace
        .clone()
        .filter(|namespace| !namespace.is_empty());
    (
        namespace.unwrap_or_else(|| "default".to_owned()),
        metadata.name.clone().unwrap_or_default(),
    )
}

fn read<T: DeserializeOwned + Serialize>(document: usize, value: &Value) -> Result<T, ManifestError> {
    let value = check::with_quantities_as_text(value);
    let object: T = match serde_json::from_value(value.clone()) {
        Ok(object) => object,
        Err(error) => {
            let field = check::culprit::<T>(&value, &error.to_string());
            return Err(ManifestError::Malformed {
                document,
                field,
                message: error.to_string(),
            });
        }
    };
    let known = serde_json::to_value(&object).unwrap_or_default();
    match check::unknown_field(&value, &known) {
        Some(field) => Err(ManifestError::UnknownField { document, field }),
        None => Ok(object),
    }
}

/// A parser quotes what it stumbled over, and that is a secret here.
fn without_values(error: ManifestError) -> ManifestError {
    match error {
        ManifestError::Malformed { document, field, .. } => {
            let message = "data must be base64 text, stringData text".to_owned();
            ManifestError::Malformed {
                document,
                field,
                message,
            }
        }
        other => other,
    }
}

/// Makes a manifest's pod a static pod of `node` as kubelet does: name, namespace, uid, annotations, toleration.
/// `source` is `file` or `http`, `place` the path or URL that it came from.
pub fn static_pod(mut pod: Pod, node: &str, source: &str, place: &str, seen: Timestamp) -> Pod {
    let hash = identity(&pod, node, source, place);
    let metadata = &mut pod.metadata;
    metadata.name = metadata
        .name
        .take()
        .map(|name| format!("{name}-{}", node.to_lowercase()));
    metadata.namespace = metadata
        .namespace
        .take()
        .filter(|name| !name.is_empty())
        .or(Some("default".to_owned()));
    let uid = metadata.uid.take().filter(|uid| !uid.is_empty()).unwrap_or(hash);
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert("kubernetes.io/config.source".to_owned(), source.to_owned());
    annotations.insert("kubernetes.io/config.seen".to_owned(), seen.to_string());
    annotations.insert("kubernetes.io/config.hash".to_owned(), uid.clone());
    metadata.uid = Some(uid);
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.to_owned());
    if source == "file" {
        // A pod that nobody else can bring back is not driven away by taints.
        spec.tolerations.get_or_insert_default().push(Toleration {
            operator: Some("Exists".to_owned()),
            effect: Some("NoExecute".to_owned()),
            ..Toleration::default()
        });
    }
    pod
}

/// 32 hexadecimal digits that change with the pod's content and with where it came from.
fn identity(pod: &Pod, node: &str, source: &str, place: &str) -> String {
    let text = serde_json::to_string(pod).unwrap_or_default();
    let source = if source == "http" { "url" } else { source };
    let hash = fnv(&[&text, &format!("host:{node}"), &format!("{source}:{place}")]);
    format!("{hash:032x}")
}

/// FNV-1a of 128 bits (draft-eastlake-fnv).
fn fnv(parts: &[&str]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = parts.iter().flat_map(|part| part.bytes());
    bytes.fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests;
