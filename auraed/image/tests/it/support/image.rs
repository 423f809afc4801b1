//! Images made in memory.

use std::io::Write as _;

use auraed_image::Digest;
use serde_json::{Value, json};

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// An image as a registry has it.
#[derive(Debug, Clone)]
pub(crate) struct BuiltImage {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) media_type: &'static str,
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A layer of files: names and contents.
pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = header(content.len());
        builder
            .append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// A layer with one large file that no packing makes smaller.
pub(crate) fn large_tar(bytes: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_data(&mut header(bytes), "large", content.as_slice())
        .unwrap();
    builder.into_inner().unwrap()
}

fn header(size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size as u64);
    header
}

pub(crate) fn pack(tar: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => tar.to_vec(),
        Packing::Zstd => zstd::encode_all(tar, 0).unwrap(),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// An OCI image for this machine.
pub(crate) fn image(tars: &[Vec<u8>], packing: Packing) -> BuiltImage {
    let config = json!({"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "User": "1000", "WorkingDir": "/srv"});
    build(tars, packing, architecture(), &config, OCI_MANIFEST)
}

/// An image of one layer of one file.
pub(crate) fn small(content: &str) -> BuiltImage {
    image(&[tar(&[("file", content)])], Packing::Gzip)
}

pub(crate) fn build(
    tars: &[Vec<u8>],
    packing: Packing,
    architecture: &str,
    config: &Value,
    media_type: &'static str,
) -> BuiltImage {
    let diff_ids: Vec<Digest> = tars.iter().map(|tar| Digest::sha256(tar)).collect();
    let layers: Vec<Vec<u8>> = tars.iter().map(|tar| pack(tar, packing)).collect();
    let config = json!({
        "architecture": architecture, "os": "linux", "created": "2024-01-02T03:04:05Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let docker = media_type == DOCKER_MANIFEST;
    let layer_type = match (docker, packing) {
        (true, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        (false, Packing::Plain) => "application/vnd.oci.image.layer.v1.tar",
        (false, Packing::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (false, Packing::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
    };
    let config_type = match docker {
        true => "application/vnd.docker.container.image.v1+json",
        false => "application/vnd.oci.image.config.v1+json",
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": descriptor(config_type, &config),
        "layers": layers.iter().map(|layer| descriptor(layer_type, layer)).collect::<Vec<_>>(),
    });
    BuiltImage {
        manifest: serde_json::to_vec(&manifest).unwrap(),
        config,
        layers,
        media_type,
    }
}

pub(crate) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(content), "size": content.len()})
}

/// An index over images and their architectures.
pub(crate) fn index(images: &[(&BuiltImage, &str)], media_type: &str) -> Vec<u8> {
    let manifests: Vec<Value> = images
        .iter()
        .map(|(image, architecture)| {
            let mut descriptor = descriptor(image.media_type, &image.manifest);
            descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
            descriptor
        })
        .collect();
    serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests})).unwrap()
}

impl BuiltImage {
    pub(crate) fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest)
    }

    pub(crate) fn id(&self) -> String {
        Digest::sha256(&self.config).to_string()
    }

    /// Configuration and layers.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Vec<u8>> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}
