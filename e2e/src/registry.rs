//! A real registry: Debian's docker-registry, on loopback in the network namespace of the run. Images are written straight
//! into its storage, whose layout is public and stable; what is pulled goes through its API.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::images::{Blob, Image, Store};
use crate::network::NetworkNamespace;
use crate::process::{Launch, Program};
use crate::scratch::Scratch;
use crate::{home, wait};

/// Where it listens; on loopback, so plain HTTP.
pub const ADDRESS: &str = "127.0.0.1:5000";

/// Whose images it serves when asked for them: the registries of [`Store::public`].
pub const MIRRORED: [&str; 4] = ["registry.k8s.io", "gcr.io", "k8s.gcr.io", "docker.io"];

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    storage: PathBuf,
    _program: Program,
}

impl Registry {
    /// Starts it, with every image of `store`: as `NAME:1`, or under the path and tag of a whole reference.
    ///
    /// # Errors
    /// docker-registry is not in the cache, or does not listen in time.
    pub fn start(scratch: &Scratch, network: &Arc<NetworkNamespace>, store: &Store) -> anyhow::Result<Self> {
        Self::start_as("registry", scratch, network, store)
    }

    /// As [`Registry::start`], for a further one of the run, in a network namespace of its own.
    ///
    /// # Errors
    /// As [`Registry::start`].
    pub fn start_as(
        name: &str,
        scratch: &Scratch,
        network: &Arc<NetworkNamespace>,
        store: &Store,
    ) -> anyhow::Result<Self> {
        let program = home::cache().join("debian/docker-registry/usr/bin/docker-registry");
        let storage = scratch.path().join(name);
        let config = scratch.path().join(format!("{name}.yml"));
        fs_err::create_dir_all(&storage)?;
        fs_err::write(&config, configuration(&storage))?;
        for (image_name, image) in store.images() {
            let (path, tag) = path_and_tag(image_name);
            put(&storage, store, image, path, tag)?;
        }
        let launch = Launch::new(name, program).arg("serve").arg(&config);
        let program = network.spawner().launch(&launch, &scratch.log(name))?;
        wait::blocking(Duration::from_secs(60), "the registry", || {
            program.check()?;
            Ok(network
                .run(["sh", "-c", "ss -Hltn 'sport = :5000' | grep -q ."])
                .is_ok()
                .then_some(()))
        })?;
        Ok(Self {
            storage,
            _program: program,
        })
    }

    /// How a pod names the suite's image.
    pub fn reference(name: &str) -> String {
        format!("{ADDRESS}/{name}:1")
    }

    /// Adds an image under a tag.
    ///
    /// # Errors
    /// No space.
    pub fn put(&self, store: &Store, image: &Image, name: &str, tag: &str) -> anyhow::Result<()> {
        put(&self.storage, store, image, name, tag)
    }

    /// Changes a byte of a blob: what a broken disk or a hostile registry serves.
    ///
    /// # Errors
    /// There is no such blob.
    pub fn corrupt(&self, blob: &Blob) -> anyhow::Result<()> {
        let path = blob_path(&self.storage, blob).join("data");
        let mut content = fs_err::read(&path)?;
        let middle = content.len() / 2;
        *content.get_mut(middle).context("an empty blob")? ^= 0xff;
        // The file may be a hard link into the cache: a new file, not new content.
        fs_err::remove_file(&path)?;
        fs_err::write(path, content)?;
        Ok(())
    }
}

/// Where a mirror has an image of this name: `HOST/PATH:TAG` without the host, or the name itself.
fn path_and_tag(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((reference, tag)) => (reference.split_once('/').map_or(reference, |(_, path)| path), tag),
        None => (name, "1"),
    }
}

fn configuration(storage: &Path) -> String {
    format!(
        "version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {}}}
  redirect: {{disable: true}}
http:
  addr: {ADDRESS}
",
        storage.display()
    )
}

fn blob_path(storage: &Path, blob: &Blob) -> PathBuf {
    storage
        .join("docker/registry/v2/blobs/sha256")
        .join(&blob.hex()[..2])
        .join(blob.hex())
}

fn put(storage: &Path, store: &Store, image: &Image, name: &str, tag: &str) -> anyhow::Result<()> {
    let repository = storage.join("docker/registry/v2/repositories").join(name);
    for blob in std::iter::once(&image.root)
        .chain(&image.manifests)
        .chain(&image.blobs)
    {
        let directory = blob_path(storage, blob);
        let target = directory.join("data");
        if !target.exists() {
            fs_err::create_dir_all(&directory)?;
            // A copy where the cache is on another file system.
            if fs_err::hard_link(store.file(blob), &target).is_err() {
                fs_err::copy(store.file(blob), &target)?;
            }
        }
    }
    for blob in &image.blobs {
        link(&repository.join("_layers/sha256").join(blob.hex()), blob)?;
    }
    for manifest in std::iter::once(&image.root).chain(&image.manifests) {
        link(
            &repository
                .join("_manifests/revisions/sha256")
                .join(manifest.hex()),
            manifest,
        )?;
    }
    let tags = repository.join("_manifests/tags").join(tag);
    link(&tags.join("current"), &image.root)?;
    link(&tags.join("index/sha256").join(image.root.hex()), &image.root)
}

fn link(directory: &Path, blob: &Blob) -> anyhow::Result<()> {
    fs_err::create_dir_all(directory)?;
    fs_err::write(directory.join("link"), &blob.digest)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_has_an_image_under_its_path() {
        assert_eq!(
            path_and_tag("registry.k8s.io/e2e-test-images/busybox:1.29-2"),
            ("e2e-test-images/busybox", "1.29-2")
        );
        assert_eq!(path_and_tag("registry.k8s.io/pause:3.9"), ("pause", "3.9"));
        assert_eq!(path_and_tag("nginx-1"), ("nginx-1", "1"));
    }
}
