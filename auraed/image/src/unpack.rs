//! Applies one layer, a hostile tar stream, to one directory, and makes of it a lower directory of overlayfs.
//!
//! The blocking thread of a layer calls [`unpack`] with a descriptor of an empty directory that nobody else writes to.
//! `archive` reads the stream's headers, `tree` resolves paths below the descriptor, `node` makes what they lead to,
//! `whiteout` translates deletions. The tar crate decodes header fields alone; its own unpacking resolves by path.
//!
//! What a layer may not do, each refused with the entry's name: leave its root by `..`, by a symlink or by a hard link;
//! name more than [`limit`] allows. On failure the directory is left half full, and the
//! caller throws it away.

mod archive;
mod error;
mod link;
mod node;
mod pax;
mod sparse;
mod tree;
mod whiteout;

use std::collections::{BTreeMap, HashSet};
use std::io::BufRead;
use std::os::fd::OwnedFd;

use crate::Usage;

pub(crate) use archive::{Archive, Entry, EntryKind};
pub(crate) use error::{ArchiveError, UnpackError, is_full, show};
pub(crate) use tree::open_beneath;
pub(crate) use whiteout::OPAQUE_ATTRIBUTE;

use node::Unpacker;

/// Bounds on what a layer may hold. Far above what images have, and low enough that no layer exhausts memory.
pub(crate) mod limit {
    /// A path or the target of a link, in bytes: PATH_MAX with its NUL, limits.h of Linux.
    pub(crate) const PATH: usize = 4095;
    /// One component of a path: NAME_MAX.
    pub(crate) const NAME: usize = 255;
    /// One PAX header, with all extended attributes of an entry. Attributes are at most 64 KiB each (xattr(7)).
    pub(crate) const PAX_HEADER: u64 = 1024 * 1024;
    /// Parts of one sparse file.
    pub(crate) const SPARSE_PARTS: usize = 1024 * 1024;
    /// Entries of one layer.
    pub(crate) const ENTRIES: u64 = 4 * 1024 * 1024;
    /// Paths of directories that are remembered until the end, in bytes altogether.
    pub(crate) const REMEMBERED: usize = 128 * 1024 * 1024;
    /// What remembering one takes beside its path.
    pub(crate) const REMEMBERED_EACH: usize = 64;
    /// Directories that a later entry of the same layer takes the place of. Honest layers have none.
    pub(crate) const REPLACED_DIRECTORIES: u64 = 1024;
    /// The whole inflated layer.
    pub(crate) const LAYER: u64 = 512 * 1024 * 1024 * 1024;
}

/// What there is to know of an unpacked layer beside its files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Directories that the layer has no entry for but that its paths need; the root is the empty path. Their owner and
    /// mode are made up, and must not hide those that a lower layer gives them.
    pub(crate) implied: HashSet<Vec<u8>>,
    /// Hard links to what lower layers have: path and target. A whiteout stands at each, so that it hides what lower
    /// layers have there; what it links to depends on the image, so that is for `correction` to find.
    pub(crate) links: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Directories that names are deleted in. Where no other layer has such a directory overlayfs lists the names that are
    /// not there, so that is for `correction` to see to, too.
    pub(crate) deleted_in: HashSet<Vec<u8>>,
    /// Some directory hides what lower layers have in it.
    pub(crate) opaque: bool,
    /// What the layer takes; absent where entries replaced others, so that only looking tells.
    pub(crate) usage: Option<Usage>,
}

/// Reads a tar stream to its end mark and makes its entries below `root`. What `replaced` holds afterwards is rubbish:
/// directories that a later entry took the place of.
pub(crate) fn unpack(
    reader: &mut impl BufRead,
    root: OwnedFd,
    replaced: OwnedFd,
) -> Result<Unpacked, UnpackError> {
    let mut archive = Archive::new(reader);
    let mut unpacker = Unpacker::new(root, replaced);
    while let Some(entry) = archive.next_entry()? {
        unpacker.apply(&entry, &mut archive)?;
    }
    unpacker.finish()
}

#[cfg(test)]
mod tests;
