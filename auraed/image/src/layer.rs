//! One layer on its way from a blob to a directory.
//!
//! ```text
//!   network ─► digest ─► channel ─► inflate ─► diff-id ─► unpack ─► ingest/<n>/root ─► layers/<name>/
//!   └──── async: `pump` ────┘       └`ahead`┘  └── blocking thread: `unpack_blob` ──┘
//! ```
//!
//! The thread waits for the channel, so a slow network costs a thread and no more; the channel is bounded, so a slow
//! disk slows the network. Whoever fails first ends the other: a dropped receiver stops the pump, and a channel that
//! closes without its end mark stops the thread. The thread owns the staging directory and takes it along. A thread of
//! its own inflates, and ends with it.

mod ahead;
mod channel;
mod inflate;
mod staging;

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use crate::unpack::{self, UnpackError, Unpacked, limit};
use crate::{Digest, ErrorKind, Usage};

use ahead::{Inflated, with_inflated};
pub(crate) use channel::{ChunkReader, ChunkSender, chunks};
pub(crate) use inflate::inflate;
pub(crate) use staging::{Ingest, Staging, remove_tree};

/// Why a layer did not get here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error("layer {layer} is corrupt: digest mismatch, expected {layer}, got {actual}")]
    Digest { layer: Digest, actual: Digest },
    #[error("layer {layer} is corrupt: {actual} bytes, expected {expected}")]
    Size {
        layer: Digest,
        expected: u64,
        actual: u64,
    },
    #[error("layer {layer} is corrupt: its content has the diff-id {actual}, expected {expected}")]
    DiffId {
        layer: Digest,
        expected: Digest,
        actual: Digest,
    },
    #[error("layer {layer} is corrupt")]
    Corrupt { layer: Digest, source: UnpackError },
    #[error("layer {layer} cannot be unpacked")]
    Unpack { layer: Digest, source: UnpackError },
    #[error("layer {layer} is refused: it is larger than {limit} bytes")]
    TooLarge { layer: Digest, limit: u64 },
    #[error("layer {layer}: no space left on the file system of {}", directory.display())]
    NoSpace { layer: Digest, directory: PathBuf },
    #[error("layer {layer}: cannot use {}", path.display())]
    Io {
        layer: Digest,
        path: PathBuf,
        source: io::Error,
    },
    #[error("layer {layer}: its unpacking was stopped")]
    Stopped { layer: Digest },
}

/// What is to become of a blob.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The blob's digest, which names the layer in errors.
    pub(crate) layer: Digest,
    /// What the inflated content must have.
    pub(crate) diff_id: Digest,
}

impl LayerError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            LayerError::Digest { .. }
            | LayerError::Size { .. }
            | LayerError::DiffId { .. }
            | LayerError::Corrupt { .. } => ErrorKind::Corrupt,
            LayerError::Unpack { source, .. } => source.kind(),
            LayerError::TooLarge { .. } => ErrorKind::Refused,
            LayerError::NoSpace { .. } => ErrorKind::NoSpace,
            LayerError::Io { .. } | LayerError::Stopped { .. } => ErrorKind::Internal,
        }
    }

    pub(crate) fn io(layer: &Digest, path: PathBuf, source: io::Error) -> LayerError {
        if unpack::is_full(&source) {
            return LayerError::NoSpace {
                layer: layer.clone(),
                directory: path,
            };
        }
        LayerError::Io {
            layer: layer.clone(),
            path,
            source,
        }
    }
}

/// Unpacks a whole blob, plain or compressed, into a staging directory and checks what came out of it. Blocks.
pub(crate) fn unpack_blob(
    plan: &Plan,
    blob: impl Read + Send,
    ingest: &Ingest,
) -> Result<Staging, LayerError> {
    let layer = &plan.layer;
    let mut staging = ingest
        .staging()
        .map_err(|error| LayerError::io(layer, ingest.path().to_owned(), error))?;
    let failed = |error| LayerError::io(layer, staging.path().to_owned(), error);
    let root = open_directory(&staging.root()).map_err(failed)?;
    let replaced = open_directory(&staging.replaced()).map_err(failed)?;

    let hasher = plan.diff_id.hasher();
    let read = with_inflated(blob, hasher, |content| {
        read(plan, &staging, content, root, replaced)
    });
    let unpacked = read.map_err(failed).flatten()?;
    let path = staging.path().to_owned();
    write_down(&mut staging, &unpacked).map_err(|error| LayerError::io(layer, path, error))?;
    staging.remove_replaced();
    Ok(staging)
}

/// Unpacks the content and holds it against its digest.
fn read(
    plan: &Plan,
    staging: &Staging,
    mut content: Inflated,
    root: OwnedFd,
    replaced: OwnedFd,
) -> Result<Unpacked, LayerError> {
    let layer = &plan.layer;
    let unpacked = unpack::unpack(&mut content, root, replaced);
    let unpacked = match unpacked {
        Ok(unpacked) => unpacked,
        Err(_) if content.exceeded() => return Err(too_large(layer)),
        Err(error) => return Err(unpack_error(plan, staging, error)),
    };
    // What follows the end mark belongs to the diff-id too.
    let drained = io::copy(&mut content, &mut io::sink());
    if content.exceeded() {
        return Err(too_large(layer));
    }
    drained.map_err(|error| unpack_error(plan, staging, unpack::ArchiveError::Read(error).into()))?;
    let actual = content.digest();
    if actual == plan.diff_id {
        return Ok(unpacked);
    }
    Err(LayerError::DiffId {
        layer: layer.clone(),
        expected: plan.diff_id.clone(),
        actual,
    })
}

/// What is known of a layer beside its files. In the lists each path is ended by a NUL.
fn write_down(staging: &mut Staging, unpacked: &Unpacked) -> io::Result<()> {
    if !unpacked.deleted_in.is_empty() {
        let directories = unpacked.deleted_in.iter();
        fs_err::write(staging.deleted_in(), terminated(directories))?;
    }
    if unpacked.opaque {
        fs_err::write(staging.opaque(), b"")?;
    }
    let mut implied: Vec<_> = unpacked.implied.iter().collect();
    implied.sort();
    fs_err::write(staging.implied(), terminated(implied.into_iter()))?;
    if !unpacked.links.is_empty() {
        let links = unpacked.links.iter().flat_map(|(path, target)| [path, target]);
        fs_err::write(staging.links(), terminated(links))?;
    }
    let usage = match unpacked.usage {
        Some(usage) => usage,
        None => Usage::measure(&staging.root(), limit::ENTRIES)?,
    };
    staging.set_usage(usage)
}

fn terminated<'a>(paths: impl Iterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    paths.flat_map(|path| path.iter().copied().chain([0])).collect()
}

fn open_directory(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn too_large(layer: &Digest) -> LayerError {
    LayerError::TooLarge {
        layer: layer.clone(),
        limit: limit::LAYER,
    }
}

fn unpack_error(plan: &Plan, staging: &Staging, source: UnpackError) -> LayerError {
    let layer = plan.layer.clone();
    match source.kind() {
        ErrorKind::Corrupt => LayerError::Corrupt { layer, source },
        ErrorKind::NoSpace => LayerError::NoSpace {
            layer,
            directory: staging.path().to_owned(),
        },
        _ => LayerError::Unpack { layer, source },
    }
}

#[cfg(test)]
mod tests;
