//! Layers: tar archives, compressed, with the two digests that an image names them by. The same content gives the same
//! bytes: entries in the caller's order, no times.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::Store;

/// Bytes in a [`Store`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

impl Blob {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            digest: digest(bytes),
            size: bytes.len() as u64,
        }
    }

    /// The digest without its algorithm.
    pub fn hex(&self) -> &str {
        self.digest.trim_start_matches("sha256:")
    }
}

/// The digest of bytes, as OCI writes it.
pub(super) fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter()
        .fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `tar+gzip`.
    Gzip,
    /// `tar+zstd`.
    Zstd,
}

/// A finished layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The compressed archive.
    pub blob: Blob,
    /// The digest of the plain archive.
    pub diff_id: String,
    /// How it is stored.
    pub compression: Compression,
}

/// A layer being written.
#[expect(missing_debug_implementations, reason = "the archive's builder has none")]
pub struct Writer {
    archive: tar::Builder<Vec<u8>>,
    directories: BTreeSet<String>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            archive: tar::Builder::new(Vec::new()),
            directories: BTreeSet::new(),
        }
    }

    /// A directory, after those above it.
    pub(super) fn directory(&mut self, path: &str, mode: u32) -> anyhow::Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.parents(parent)?;
        }
        if !self.directories.insert(path.to_owned()) {
            return Ok(());
        }
        let mut header = header(EntryType::Directory, mode, 0);
        self.archive
            .append_data(&mut header, format!("{path}/"), std::io::empty())
            .context("writing a layer")
    }

    fn parents(&mut self, path: &str) -> anyhow::Result<()> {
        if self.directories.contains(path) {
            Ok(())
        } else {
            self.directory(path, 0o755)
        }
    }

    fn parents_of(&mut self, path: &str) -> anyhow::Result<()> {
        path.rsplit_once('/')
            .map_or(Ok(()), |(parent, _)| self.parents(parent))
    }

    /// A file of root's.
    ///
    /// # Errors
    /// The path is too long for an archive.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        self.parents_of(path)?;
        let mut header = header(EntryType::Regular, mode, content.len() as u64);
        self.archive
            .append_data(&mut header, path, content)
            .context("writing a layer")
    }

    /// A second name of a file in the same layer.
    pub(super) fn hard_link(&mut self, path: &str, target: &str) -> anyhow::Result<()> {
        self.link(EntryType::Link, path, target)
    }

    /// A symbolic link.
    pub(super) fn symbolic_link(&mut self, path: &str, target: &str) -> anyhow::Result<()> {
        self.link(EntryType::Symlink, path, target)
    }

    fn link(&mut self, kind: EntryType, path: &str, target: &str) -> anyhow::Result<()> {
        self.parents_of(path)?;
        self.archive
            .append_link(&mut header(kind, 0o777, 0), path, target)
            .context("writing a layer")
    }

    /// Everything below a directory of this machine that `keep` accepts, as root's.
    pub(super) fn tree(&mut self, from: &Path, keep: &dyn Fn(&str) -> bool) -> anyhow::Result<()> {
        self.branch(from, "", keep)
    }

    fn branch(&mut self, from: &Path, prefix: &str, keep: &dyn Fn(&str) -> bool) -> anyhow::Result<()> {
        let mut entries: Vec<_> = fs_err::read_dir(from)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs_err::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.branch(&entry.path(), &path, keep)?;
            } else if !keep(&path) {
                continue;
            } else if kind.is_symlink() {
                self.symbolic_link(&path, &fs_err::read_link(entry.path())?.to_string_lossy())?;
            } else {
                let mode = entry.metadata()?.mode() & 0o7777;
                self.file(&path, mode, &fs_err::read(entry.path())?)?;
            }
        }
        Ok(())
    }

    /// Compresses it and puts it into a store.
    ///
    /// # Errors
    /// No space.
    pub fn finish(self, store: &Store, compression: Compression) -> anyhow::Result<Layer> {
        let plain = self.archive.into_inner().context("writing a layer")?;
        let packed = match compression {
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&plain)?;
                encoder.finish()?
            }
            Compression::Zstd => zstd::encode_all(plain.as_slice(), 1)?,
        };
        Ok(Layer {
            blob: store.put(&packed)?,
            diff_id: digest(&plain),
            compression,
        })
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
