//! An OCI archive of Debian's static busybox, made with the machine's own tar and sha256sum: no registry is needed to see
//! a pod run.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::shell::output;

/// Writes the archive. The same busybox gives the same archive.
pub(super) fn archive(busybox: &Path, reference: &str, target: &Path) -> anyhow::Result<()> {
    let work = target.with_extension("work");
    if work.exists() {
        fs_err::remove_dir_all(&work)?;
    }
    let tree = work.join("tree");
    root(busybox, &tree)?;
    let blobs = work.join("image/blobs/sha256");
    fs_err::create_dir_all(&blobs)?;
    let layer = work.join("layer.tar");
    pack(&tree, &layer)?;
    let (layer, layer_size) = put(&blobs, &layer)?;
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{layer}"]}}}}"#
    );
    let (config, config_size) = put_text(&work, &blobs, &config)?;
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{config}","size":{config_size}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:{layer}","size":{layer_size}}}]}}"#
    );
    let (manifest, manifest_size) = put_text(&work, &blobs, &manifest)?;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{manifest}","size":{manifest_size},"annotations":{{"org.opencontainers.image.ref.name":"{reference}"}}}}]}}"#
    );
    fs_err::write(work.join("image/index.json"), index)?;
    fs_err::write(work.join("image/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    pack(&work.join("image"), target)?;
    fs_err::remove_dir_all(&work)?;
    Ok(())
}

/// busybox with a hard link an applet, and what a shell expects to find.
fn root(busybox: &Path, tree: &Path) -> anyhow::Result<()> {
    for directory in [
        "bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var/log",
    ] {
        fs_err::create_dir_all(tree.join(directory))?;
    }
    let program = tree.join("bin/busybox");
    fs_err::copy(busybox, &program)?;
    for applet in output(Command::new(&program).arg("--list-full"))?.lines() {
        let path = tree.join(applet);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        if !path.exists() {
            fs_err::hard_link(&program, &path)?;
        }
    }
    fs_err::write(
        tree.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    fs_err::write(tree.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    Ok(())
}

fn pack(directory: &Path, target: &Path) -> anyhow::Result<()> {
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
        "-C",
    ])
    .arg(directory)
    .arg("-cf")
    .arg(target)
    .arg(".");
    output(&mut tar).map(drop)
}

/// Moves a file to its digest; gives digest and size.
fn put(blobs: &Path, file: &Path) -> anyhow::Result<(String, u64)> {
    let line = output(Command::new("sha256sum").arg(file))?;
    let digest = line
        .split(' ')
        .next()
        .context("sha256sum printed nothing")?
        .to_owned();
    let size = fs_err::metadata(file)?.len();
    fs_err::rename(file, blobs.join(&digest))?;
    Ok((digest, size))
}

fn put_text(work: &Path, blobs: &Path, text: &str) -> anyhow::Result<(String, u64)> {
    let file = work.join("text");
    fs_err::write(&file, text)?;
    put(blobs, &file)
}
