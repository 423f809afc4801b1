//! An image to run: the distribution's static busybox as an OCI layout in a tar stream.

use sha2::{Digest, Sha256};
use std::fmt::Write;
/// The name that the image is imported under.
pub(crate) const BUSYBOX: &str = "example.test/busybox:1";

/// `None` where the distribution has no static busybox.
pub(crate) fn busybox() -> Option<Vec<u8>> {
    let path = std::env::var_os("PATH")?;
    let program = std::env::split_paths(&path)
        .map(|directory| directory.join("busybox"))
        .find(|path| path.exists())?;
    let layer = layer(&fs_err::read(program).unwrap());
    let diff_id = digest(&layer);
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["sh"], "WorkingDir": "/tmp", "StopSignal": "SIGTERM",
            "Labels": {"maker": "auraed"},
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let config = config.to_string().into_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": BUSYBOX});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]})
        .to_string()
        .into_bytes();

    let mut archive = tar::Builder::new(Vec::new());
    add(
        &mut archive,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
        0o644,
    );
    add(&mut archive, "index.json", &index, 0o644);
    for blob in [&manifest, &config, &layer] {
        let name = format!("blobs/sha256/{}", digest(blob).trim_start_matches("sha256:"));
        add(&mut archive, &name, blob, 0o644);
    }
    Some(archive.into_inner().unwrap())
}

fn layer(program: &[u8]) -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    for (directory, mode) in [
        ("bin/", 0o755),
        ("etc/", 0o755),
        ("tmp/", 0o1777),
        ("root/", 0o700),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(mode);
        layer
            .append_data(&mut header, directory, std::io::empty())
            .unwrap();
    }
    add(&mut layer, "bin/busybox", program, 0o755);
    for applet in [
        "sh", "cat", "echo", "sleep", "true", "false", "kill", "id", "env", "ls", "wc", "head", "seq", "wget",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        layer
            .append_link(&mut header, format!("bin/{applet}"), "busybox")
            .unwrap();
    }
    add(
        &mut layer,
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        0o644,
    );
    add(&mut layer, "etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644);
    layer.into_inner().unwrap()
}

fn add(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, path, content).unwrap();
}

fn descriptor(media_type: &str, blob: &[u8]) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}
