//! Hard links: to what the layer has, made at once; to what lower layers have, left for the image that they are in.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::Entry;
use super::error::{UnpackError, show};
use super::node::{Unpacker, io};
use super::tree::{EntryPath, Present, present};
use crate::Usage;

/// What the target of a link is.
enum Target {
    /// A file of this layer, by its directory.
    Here(OwnedFd),
    /// Nothing of this layer.
    Below,
    /// A link of this layer to something below.
    Linked(Vec<u8>),
}

impl Unpacker {
    pub(super) fn hard_link(
        &mut self,
        entry: &Entry,
        path: &EntryPath<'_>,
        standing: Present,
    ) -> Result<(), UnpackError> {
        let refuse = |reason| refuse(entry, reason);
        let Some((parents, name)) = path.split() else {
            return Err(refuse("would take the place of the root"));
        };
        let target = EntryPath::parse(&entry.link, &entry.path)
            .map_err(|_| refuse("leads out of the layer or is malformed"))?;
        let Some((target_parents, target_name)) = target.split() else {
            return Err(refuse("is a directory"));
        };
        let source = match self.target(entry, &target, &target_parents, target_name)? {
            Target::Here(source) => source,
            Target::Below => return self.link_below(entry, path, standing, target.bytes()),
            Target::Linked(target) => return self.link_below(entry, path, standing, target),
        };
        if standing == Present::Other
            && same_file(
                self.tree.open_parent(&parents, &entry.path)?,
                name,
                &source,
                target_name,
            )
        {
            return Ok(());
        }
        self.take_away(&parents, name, standing, &entry.path)?;
        let parent = self.tree.open_parent(&parents, &entry.path)?;
        match rustix::fs::linkat(&source, target_name, parent, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            // The directory that was in the way held the target.
            Err(Errno::NOENT) => Err(refuse("was replaced by the link")),
            Err(errno) => Err(io("link", entry, errno)),
        }
    }

    fn target(
        &self,
        entry: &Entry,
        target: &EntryPath<'_>,
        parents: &EntryPath<'_>,
        name: &[u8],
    ) -> Result<Target, UnpackError> {
        let refuse = |reason| refuse(entry, reason);
        let failed = |errno| io("look up the target of", entry, errno);
        let directory = match self.tree.open_existing(parents) {
            Ok(directory) => directory,
            Err(Errno::XDEV | Errno::LOOP) => return Err(refuse("leads out of the layer")),
            Err(Errno::NOENT) => return Ok(Target::Below),
            Err(Errno::NOTDIR) => return Err(refuse("has a parent that is not a directory")),
            Err(errno) => return Err(failed(errno)),
        };
        match present(directory.as_fd(), name).map_err(failed)? {
            Present::Nothing => Ok(Target::Below),
            Present::Directory => Err(refuse("is a directory")),
            Present::Whiteout => match self.links.get(&target.bytes()) {
                Some(below) => Ok(Target::Linked(below.clone())),
                None => Err(refuse("is deleted by this layer")),
            },
            Present::Other => Ok(Target::Here(directory)),
        }
    }

    /// Remembers a link, and hides what lower layers have in its place.
    fn link_below(
        &mut self,
        entry: &Entry,
        path: &EntryPath<'_>,
        standing: Present,
        target: Vec<u8>,
    ) -> Result<(), UnpackError> {
        let Some((parents, name)) = path.split() else {
            return Err(refuse(entry, "would take the place of the root"));
        };
        // A directory in the way may go as well as a file: nothing of this layer is the target.
        self.take_away(&parents, name, standing, &entry.path)?;
        let parent = self.tree.open_parent(&parents, &entry.path)?;
        rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(|errno| io("create the place of", entry, errno))?;
        self.usage += Usage::inode(0);
        if !self.tree.is_real(&parents) {
            let reason = "is not in this layer, and a symlink leads to the place of the link";
            return Err(refuse(entry, reason));
        }
        let link = path.bytes();
        self.remember(link.len() + target.len(), &entry.path)?;
        self.links.insert(link, target);
        self.deleted_in(&parents, &entry.path)
    }
}

fn refuse(entry: &Entry, reason: &'static str) -> UnpackError {
    UnpackError::Link {
        entry: show(&entry.path),
        target: show(&entry.link),
        reason,
    }
}

fn same_file(parent: BorrowedFd<'_>, name: &[u8], other: &OwnedFd, other_name: &[u8]) -> bool {
    let first = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    let second = rustix::fs::statat(other, other_name, AtFlags::SYMLINK_NOFOLLOW);
    matches!((first, second), (Ok(first), Ok(second)) if first.st_ino == second.st_ino)
}
