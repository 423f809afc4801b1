//! Configurations, manifests and indexes, in OCI's and in Docker's form: a puller meets both.

use serde_json::{Value, json};

use super::layer::{Compression, Layer};
use super::{Image, Store};

/// What an image's configuration says.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub command: Vec<String>,
    /// `User`.
    pub user: String,
    /// `Env` beside PATH.
    pub environment: Vec<String>,
}

/// A command line of words without blanks in them.
pub(super) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

/// How an image is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An OCI manifest.
    Oci,
    /// A Docker manifest list with amd64, and arm64 without blobs.
    DockerList,
}

pub(super) fn write(
    store: &Store,
    name: &str,
    spec: &Spec,
    layers: &[Layer],
    form: Form,
) -> anyhow::Result<Image> {
    let config = store.put(&serde_json::to_vec(&configuration(name, spec, layers))?)?;
    let oci = form == Form::Oci;
    let (config_type, manifest_type) = if oci {
        (
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.oci.image.manifest.v1+json",
        )
    } else {
        (
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        )
    };
    let descriptors: Vec<Value> = layers.iter().map(|layer| json!({"mediaType": layer_type(layer, oci), "digest": layer.blob.digest, "size": layer.blob.size})).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": {"mediaType": config_type, "digest": config.digest, "size": config.size},
        "layers": descriptors,
    });
    let manifest = store.put(&serde_json::to_vec_pretty(&manifest)?)?;
    let blobs = std::iter::once(config)
        .chain(layers.iter().map(|layer| layer.blob.clone()))
        .collect();
    if oci {
        return Ok(Image {
            root: manifest,
            media_type: manifest_type.to_owned(),
            manifests: Vec::new(),
            blobs,
        });
    }
    let list_type = "application/vnd.docker.distribution.manifest.list.v2+json";
    let entry = |architecture: &str, digest: &str, size: u64| json!({"mediaType": manifest_type, "digest": digest, "size": size, "platform": {"os": "linux", "architecture": architecture}});
    let absent = format!("sha256:{}", "0".repeat(64));
    let list = json!({
        "schemaVersion": 2,
        "mediaType": list_type,
        // The other architecture first: a puller that takes the first entry fails.
        "manifests": [entry("arm64", &absent, 1), entry("amd64", &manifest.digest, manifest.size)],
    });
    let root = store.put(&serde_json::to_vec_pretty(&list)?)?;
    Ok(Image {
        root,
        media_type: list_type.to_owned(),
        manifests: vec![manifest],
        blobs,
    })
}

fn configuration(name: &str, spec: &Spec, layers: &[Layer]) -> Value {
    let mut environment =
        vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    environment.extend(spec.environment.iter().cloned());
    json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": environment,
            "Entrypoint": spec.entrypoint,
            "Cmd": spec.command,
            "User": spec.user,
            // Makes each name an image of its own.
            "Labels": {"name": name},
        },
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>()},
        "history": [],
    })
}

fn layer_type(layer: &Layer, oci: bool) -> &'static str {
    match (oci, layer.compression) {
        (true, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (true, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
        (false, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
    }
}
