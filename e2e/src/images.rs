//! The images that the suite runs, made from Debian's packages and agnhost, and kept in the cache: real programs, real
//! layers, no registry of somebody else's.
//!
//! A [`Store`] is a directory of blobs by digest; an [`Image`] is the digest of a manifest in it. Images are made again
//! when what they are made of changes.

mod layer;
mod manifest;
mod parts;
mod public;
mod recipes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

pub use layer::{Blob, Compression, Layer, Writer as LayerWriter};
pub use manifest::{Form, Spec};

use crate::home;

/// An image in a [`Store`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// The manifest or index that a tag names.
    pub root: Blob,
    /// Its media type.
    pub media_type: String,
    /// Further manifests: an index's.
    pub manifests: Vec<Blob>,
    /// Configuration and layers.
    pub blobs: Vec<Blob>,
}

/// Blobs by digest, and the images made of them.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    images: BTreeMap<String, Image>,
}

impl Store {
    /// The suite's images, made now if they are not in the cache.
    ///
    /// # Errors
    /// What they are made of is missing (`cargo xtask setup` brings it), or there is no space.
    pub fn open() -> anyhow::Result<Self> {
        Self::cached("images.json", &recipes::inputs()?, recipes::make)
    }

    /// Stand-ins for the public images that critest and Kubernetes' own suites pull, by the names they have there. Made as
    /// those of [`Store::open`].
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn public() -> anyhow::Result<Self> {
        Self::cached("public.json", &public::inputs()?, public::make)
    }

    fn cached(
        index: &str,
        inputs: &str,
        make: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let directory = home::cache().join("e2e/images");
        let index = directory.join(index);
        // Another process may be making them; the lock's end is the end of the process.
        fs_err::create_dir_all(directory.join("blobs"))?;
        let lock = fs_err::File::create(directory.join("lock"))?;
        rustix::fs::flock(lock.file(), rustix::fs::FlockOperation::LockExclusive)
            .context("locking the image cache")?;
        if let Ok(text) = fs_err::read_to_string(&index)
            && let Ok((made, images)) = serde_json::from_str::<(String, BTreeMap<String, Image>)>(&text)
            && made == inputs
        {
            return Ok(Self { directory, images });
        }
        let mut store = Self {
            directory,
            images: BTreeMap::new(),
        };
        make(&mut store)?;
        fs_err::write(&index, serde_json::to_string_pretty(&(inputs, &store.images))?)?;
        Ok(store)
    }

    /// An empty store, for images that one test makes.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn empty(directory: &Path) -> anyhow::Result<Self> {
        fs_err::create_dir_all(directory.join("blobs"))?;
        Ok(Self {
            directory: directory.to_owned(),
            images: BTreeMap::new(),
        })
    }

    /// The image of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn image(&self, name: &str) -> anyhow::Result<&Image> {
        self.images
            .get(name)
            .with_context(|| format!("the suite has no image {name}"))
    }

    /// Names and images.
    pub fn images(&self) -> impl Iterator<Item = (&str, &Image)> {
        self.images.iter().map(|(name, image)| (name.as_str(), image))
    }

    /// A blob's file.
    pub fn file(&self, blob: &Blob) -> PathBuf {
        self.directory.join("blobs").join(blob.hex())
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// No space.
    pub fn put(&self, bytes: &[u8]) -> anyhow::Result<Blob> {
        let blob = Blob::of(bytes);
        let target = self.file(&blob);
        // Whole or not at all: registries of other runs hold links to what is there.
        let fresh = target.with_extension("fresh");
        fs_err::write(&fresh, bytes)?;
        fs_err::rename(fresh, target)?;
        Ok(blob)
    }

    /// Makes an image of layers and remembers it.
    ///
    /// # Errors
    /// No space.
    pub fn add(&mut self, name: &str, spec: &Spec, layers: &[Layer], form: Form) -> anyhow::Result<()> {
        let image = manifest::write(self, name, spec, layers, form)?;
        self.images.insert(name.to_owned(), image);
        Ok(())
    }

    /// Remembers an image under one more name.
    ///
    /// # Errors
    /// There is no such image.
    pub fn alias(&mut self, name: &str, of: &str) -> anyhow::Result<()> {
        let image = self.image(of)?.clone();
        self.images.insert(name.to_owned(), image);
        Ok(())
    }

    /// Makes an image of one layer with one file: for bytes that nobody else has.
    ///
    /// # Errors
    /// No space.
    pub fn add_file(&mut self, name: &str, path: &str, content: &[u8], spec: &Spec) -> anyhow::Result<()> {
        let mut layer = layer::Writer::new();
        layer.file(path, 0o755, content)?;
        let layer = layer.finish(self, Compression::Gzip)?;
        self.add(name, spec, &[layer], Form::Oci)
    }

    /// Writes an image as an OCI archive, as `aurae image import` reads it.
    ///
    /// # Errors
    /// No such image, or no space.
    pub fn archive(&self, name: &str, reference: &str, target: &Path) -> anyhow::Result<()> {
        let image = self.image(name)?;
        let mut archive = tar::Builder::new(fs_err::File::create(target)?);
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": image.media_type,
                "digest": image.root.digest,
                "size": image.root.size,
                "annotations": { "org.opencontainers.image.ref.name": reference, "io.containerd.image.name": reference },
            }],
        });
        append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut archive, "index.json", &serde_json::to_vec(&index)?)?;
        for blob in std::iter::once(&image.root)
            .chain(&image.manifests)
            .chain(&image.blobs)
        {
            append(
                &mut archive,
                &format!("blobs/sha256/{}", blob.hex()),
                &fs_err::read(self.file(blob))?,
            )?;
        }
        archive.finish().context("writing the archive")
    }
}

fn append(archive: &mut tar::Builder<fs_err::File>, path: &str, content: &[u8]) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, path, content)
        .with_context(|| format!("writing {path}"))
}
