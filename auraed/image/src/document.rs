//! The JSON documents of an image: index, manifest, configuration. All of them are small, and read whole.

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use serde::Deserialize;

use crate::platform;
use crate::{Digest, ErrorKind};

/// The largest document that is read; what registries themselves take (distribution specification, "Pushing Manifests").
pub(crate) const LIMIT: u64 = 4 * 1024 * 1024;

/// Overlayfs takes 500 lower directories; one is kept for the correction of implied directories.
const LAYERS: usize = 499;

/// The media types to ask for.
pub(crate) const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// What a manifest's digest led to.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Box<ImageIndex>),
    Manifest(Manifest),
}

/// An image of one platform: its configuration and layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) config: Blob,
    /// Lowest first.
    pub(crate) layers: Vec<Blob>,
}

/// Content by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// A document that is not what it should be, or not for this node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error("{what} {digest} is malformed")]
    Malformed {
        what: &'static str,
        digest: Digest,
        source: serde_json::Error,
    },
    #[error("{what} {digest} is corrupt: digest mismatch, got {actual}")]
    Digest {
        what: &'static str,
        digest: Digest,
        actual: Digest,
    },
    #[error("manifest {digest} is refused: {reason}")]
    Refused { digest: Digest, reason: String },
    #[error("no match for platform {platform} in manifest {digest}: not found")]
    NoPlatform { digest: Digest, platform: String },
    #[error("image {digest} is made for {actual}, and this node is {platform}")]
    OtherPlatform {
        digest: Digest,
        actual: String,
        platform: String,
    },
    #[error("image {digest} is corrupt: {layers} layers in its manifest, {diff_ids} in its configuration")]
    Layers {
        digest: Digest,
        layers: usize,
        diff_ids: usize,
    },
}

/// The fields that tell one kind of document from another.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    #[serde(default)]
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
}

impl DocumentError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            DocumentError::Malformed { .. } | DocumentError::Digest { .. } | DocumentError::Layers { .. } => {
                ErrorKind::Corrupt
            }
            DocumentError::Refused { .. } | DocumentError::OtherPlatform { .. } => ErrorKind::Refused,
            DocumentError::NoPlatform { .. } => ErrorKind::NotFound,
        }
    }
}

/// Checks that a document is what its digest says.
pub(crate) fn check(what: &'static str, digest: &Digest, bytes: &[u8]) -> Result<(), DocumentError> {
    let actual = digest.of(bytes);
    if actual == *digest {
        Ok(())
    } else {
        Err(DocumentError::Digest {
            what,
            digest: digest.clone(),
            actual,
        })
    }
}

/// Parses an index or a manifest. One that could be read as either is refused: two readers could see two images in it.
pub(crate) fn parse(digest: &Digest, bytes: &[u8]) -> Result<Document, DocumentError> {
    let malformed = |source| DocumentError::Malformed {
        what: "manifest",
        digest: digest.clone(),
        source,
    };
    let refused = |reason: &str| DocumentError::Refused {
        digest: digest.clone(),
        reason: reason.to_owned(),
    };
    let probe: Probe = serde_json::from_slice(bytes).map_err(malformed)?;
    if probe.schema_version != 2 {
        return Err(refused(
            "its schema version is not 2; push the image anew with a current tool",
        ));
    }
    let media_type = probe.media_type.unwrap_or_default();
    match (probe.manifests.is_some(), probe.layers.is_some()) {
        (true, false)
            if !media_type.ends_with(".manifest.v1+json") && !media_type.ends_with(".manifest.v2+json") =>
        {
            serde_json::from_slice(bytes)
                .map(Document::Index)
                .map_err(malformed)
        }
        (false, true) if !media_type.contains(".index.") && !media_type.contains(".list.") => {
            let manifest: ImageManifest = serde_json::from_slice(bytes).map_err(malformed)?;
            manifest_of(digest, &manifest).map(Document::Manifest)
        }
        (false, false) => Err(refused("it has neither layers nor manifests")),
        _ => Err(refused("its content and its media type do not agree")),
    }
}

fn manifest_of(digest: &Digest, manifest: &ImageManifest) -> Result<Manifest, DocumentError> {
    let refused = |reason: String| DocumentError::Refused {
        digest: digest.clone(),
        reason,
    };
    check_count(digest, manifest.layers().len())?;
    for layer in manifest.layers() {
        let media_type = layer.media_type().to_string();
        if !is_layer(&media_type) {
            return Err(refused(format!(
                "a layer of the media type {media_type:?} is not supported"
            )));
        }
    }
    let config = blob(manifest.config()).map_err(refused)?;
    if config.size > LIMIT {
        return Err(refused(format!("its configuration is larger than {LIMIT} bytes")));
    }
    let layers = manifest
        .layers()
        .iter()
        .map(blob)
        .collect::<Result<_, _>>()
        .map_err(refused)?;
    Ok(Manifest { config, layers })
}

/// Checks that an image has no more layers than overlayfs takes. `digest` names its manifest.
pub(crate) fn check_count(digest: &Digest, layers: usize) -> Result<(), DocumentError> {
    if layers <= LAYERS {
        return Ok(());
    }
    Err(DocumentError::Refused {
        digest: digest.clone(),
        reason: format!("it has more than {LAYERS} layers"),
    })
}

/// Layers of OCI and docker, whatever they are packed with; nothing encrypted, and no artifacts.
fn is_layer(media_type: &str) -> bool {
    let packed = |rest: &str| matches!(rest, "" | "+gzip" | "+zstd" | ".gzip" | ".zstd");
    [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ]
    .iter()
    .any(|prefix| media_type.strip_prefix(prefix).is_some_and(packed))
}

/// A descriptor with a digest that this node can check.
pub(crate) fn blob(descriptor: &Descriptor) -> Result<Blob, String> {
    let digest: Digest = descriptor
        .digest()
        .to_string()
        .parse()
        .map_err(|error| format!("{error}"))?;
    Ok(Blob {
        digest,
        size: descriptor.size(),
    })
}

/// Chooses the manifest of an index for this node.
pub(crate) fn choose(digest: &Digest, index: &ImageIndex) -> Result<Blob, DocumentError> {
    let no_platform = || DocumentError::NoPlatform {
        digest: digest.clone(),
        platform: platform::this_platform(),
    };
    let descriptor = platform::select(index.manifests()).ok_or_else(no_platform)?;
    blob(descriptor).map_err(|reason| DocumentError::Refused {
        digest: digest.clone(),
        reason,
    })
}

/// Parses a configuration and checks that it and the manifest are of one image, for this node.
pub(crate) fn parse_config(
    manifest: &Manifest,
    bytes: &[u8],
) -> Result<(ImageConfiguration, Vec<Digest>), DocumentError> {
    let digest = &manifest.config.digest;
    let what = "configuration";
    let malformed = |source| DocumentError::Malformed {
        what,
        digest: digest.clone(),
        source,
    };
    let config: ImageConfiguration = serde_json::from_slice(bytes).map_err(malformed)?;
    let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
    if !platform::runs_here(&os, &architecture) {
        let actual = format!("{os}/{architecture}");
        let platform = platform::this_platform();
        return Err(DocumentError::OtherPlatform {
            digest: digest.clone(),
            actual,
            platform,
        });
    }
    let diff_ids = config
        .rootfs()
        .diff_ids()
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<Digest>, _>>();
    let diff_ids = diff_ids.map_err(|error| malformed(serde::de::Error::custom(error)))?;
    if diff_ids.len() != manifest.layers.len() {
        let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
        return Err(DocumentError::Layers {
            digest: digest.clone(),
            layers,
            diff_ids,
        });
    }
    Ok((config, diff_ids))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn descriptor(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", "1".repeat(64)), "size": 7})
    }

    fn manifest(layer: &str) -> Value {
        json!({
            "schemaVersion": 2,
            "config": descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [descriptor(layer)],
        })
    }

    fn parsed(value: &Value) -> Result<Document, String> {
        let bytes = serde_json::to_vec(value).unwrap();
        parse(&Digest::sha256(&bytes), &bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn layers_of_oci_and_docker_are_taken_and_others_refused() {
        for good in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            assert!(
                matches!(parsed(&manifest(good)), Ok(Document::Manifest(_))),
                "{good}"
            );
        }
        for bad in [
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            "application/wasm",
            "text/plain",
        ] {
            assert!(
                parsed(&manifest(bad)).unwrap_err().contains("not supported"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_document_that_is_two_things_is_refused() {
        let mut both = manifest("application/vnd.oci.image.layer.v1.tar");
        both["manifests"] = json!([]);
        assert!(parsed(&both).is_err());
        let mut liar = manifest("application/vnd.oci.image.layer.v1.tar");
        liar["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
        assert!(parsed(&liar).is_err());
        assert!(
            parsed(&json!({"schemaVersion": 1, "fsLayers": []}))
                .unwrap_err()
                .contains("schema version")
        );
        assert!(parsed(&json!({"schemaVersion": 2})).is_err());
        assert!(parsed(&json!([])).is_err());
    }

    #[test]
    fn too_many_layers_are_refused() {
        let layer = descriptor("application/vnd.oci.image.layer.v1.tar");
        let mut value = manifest("application/vnd.oci.image.layer.v1.tar");
        value["layers"] = Value::Array(vec![layer; LAYERS + 1]);
        assert!(parsed(&value).unwrap_err().contains("more than 499 layers"));
    }
}
