//! Deletions: from `.wh.` names of a layer (OCI image specification, layer.md, "Whiteouts") to what overlayfs knows, a
//! character device 0:0 for a name and an attribute for a directory whose lower content is hidden.

use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, OFlags, XattrFlags};

use super::error::UnpackError;
use super::tree::{EntryPath, Present, Tree, present};

/// Overlayfs, "whiteouts and opaque directories": value `y`.
pub(crate) const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Books of aufs: `.wh..wh.aufs`, `.wh..wh.orph`, `.wh..wh.plnk`.
const AUFS: &[u8] = b".wh..wh.";

/// What an entry's name says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    Plain,
    /// This name of the same directory is deleted.
    Deletes(&'a [u8]),
    /// The lower content of the directory is hidden.
    Opaque,
    /// Nothing that is part of the layer.
    Ignored,
}

/// Reads the name of an entry.
pub(super) fn classify<'a>(path: &EntryPath<'a>, entry: &[u8]) -> Result<Name<'a>, UnpackError> {
    let Some((parents, name)) = path.split() else {
        return Ok(Name::Plain);
    };
    if name == OPAQUE {
        return refuse_in_parents(&parents, entry).map(|()| Name::Opaque);
    }
    if path
        .components()
        .iter()
        .any(|component| component.starts_with(AUFS))
    {
        return Ok(Name::Ignored);
    }
    refuse_in_parents(&parents, entry)?;
    match name.strip_prefix(PREFIX) {
        None => Ok(Name::Plain),
        Some(b"" | b"." | b"..") => Err(UnpackError::refused(entry, "it deletes no name of its directory")),
        Some(deleted) => Ok(Name::Deletes(deleted)),
    }
}

/// Deletes a name of lower layers. What this layer itself has there stays: a directory then hides the lower one.
pub(super) fn delete(
    tree: &mut Tree,
    parents: &EntryPath<'_>,
    name: &[u8],
    entry: &[u8],
) -> Result<(), UnpackError> {
    let parent = tree.open_parent(parents, entry)?;
    match present(parent, name).map_err(|errno| UnpackError::io("look up", entry, errno))? {
        Present::Nothing => rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(|errno| UnpackError::io("create the whiteout", entry, errno)),
        Present::Directory => {
            tree.set_explicit(&parents.join(name));
            tree.set_opaque(parents, name, entry)
        }
        Present::Whiteout | Present::Other => Ok(()),
    }
}

/// Hides the lower content of a directory; `name` may be `.`. For [`Tree::set_opaque`].
pub(super) fn set_opaque(parent: BorrowedFd<'_>, name: &[u8], entry: &[u8]) -> Result<(), UnpackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
        .and_then(|directory| rustix::fs::fsetxattr(directory, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty()))
        .map_err(|errno| UnpackError::io("make opaque the directory of", entry, errno))
}

fn refuse_in_parents(parents: &EntryPath<'_>, entry: &[u8]) -> Result<(), UnpackError> {
    if parents
        .components()
        .iter()
        .any(|component| component.starts_with(PREFIX))
    {
        return Err(UnpackError::refused(entry, "it lies below a whiteout"));
    }
    Ok(())
}
