//! Makes one entry of a layer: file, directory, link, device, with its owner, mode, attributes and time.
//!
//! The order of the calls matters: chown clears setuid bits and file capabilities, so mode and attributes come after
//! it; making an entry touches its directory, so the times of directories are set when everything is made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::error::{UnpackError, show};
use super::limit;
use super::tree::{EntryPath, Present, Tree, present, resolve_error};
use super::whiteout::{self, Name};
use super::{Archive, Entry, EntryKind, Unpacked};
use crate::Usage;

/// Applies entries one after another.
pub(super) struct Unpacker {
    pub(super) tree: Tree,
    /// Paths of directories and their times.
    directory_times: Vec<(Vec<u8>, (i64, u32))>,
    pub(super) links: BTreeMap<Vec<u8>, Vec<u8>>,
    remembered_bytes: usize,
    pub(super) usage: Usage,
    /// Entries took the place of others, which are in `usage`.
    replaced: bool,
    buffer: Box<[u8]>,
}

const BUFFER: usize = 256 * 1024;
/// Targets of symlinks below this length are in the inode: ext4, "Symbolic Links".
const SHORT_LINK: usize = 60;
/// What a directory takes that is not very large.
const DIRECTORY_BYTES: u64 = 1;

impl Unpacker {
    pub(super) fn new(root: OwnedFd, replaced: OwnedFd) -> Unpacker {
        Unpacker {
            tree: Tree::new(root, replaced),
            directory_times: Vec::new(),
            links: BTreeMap::new(),
            remembered_bytes: 0,
            usage: Usage::inode(DIRECTORY_BYTES),
            replaced: false,
            buffer: vec![0; BUFFER].into_boxed_slice(),
        }
    }

    /// Makes an entry, reading its content from the archive.
    pub(super) fn apply<R: Read>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), UnpackError> {
        let path = EntryPath::parse(&entry.path, &entry.path)?;
        let Some((parents, name)) = path.split() else {
            return self.root(entry);
        };
        match whiteout::classify(&path, &entry.path)? {
            Name::Ignored => Ok(()),
            Name::Deletes(deleted) => {
                self.usage += Usage::inode(0);
                whiteout::delete(&mut self.tree, &parents, deleted, &entry.path)
            }
            Name::Opaque => {
                let directory = self.tree.open_parent(&parents, &entry.path)?;
                whiteout::set_opaque(directory, b".", &entry.path)
            }
            Name::Plain if entry.kind == EntryKind::Directory => self.directory(entry, &path, &parents, name),
            Name::Plain => {
                let parent = self.tree.open_parent(&parents, &entry.path)?;
                let standing = present(parent, name).map_err(|errno| io("look up", entry, errno))?;
                if entry.kind == EntryKind::HardLink {
                    return self.hard_link(entry, &path, standing);
                }
                self.take_away(&parents, name, standing, &entry.path)?;
                let parent = self.tree.open_parent(&parents, &entry.path)?;
                match entry.kind {
                    EntryKind::File => {
                        self.usage += Usage::inode(entry.size);
                        file(parent, name, entry, archive, &mut self.buffer)
                    }
                    _ => {
                        self.usage += Usage::inode(if entry.link.len() < SHORT_LINK { 0 } else { 1 });
                        special(parent, name, entry)
                    }
                }
            }
        }
    }

    /// Sets the times of directories. One that was replaced meanwhile has no time to set.
    pub(super) fn finish(self) -> Result<Unpacked, UnpackError> {
        for (path, time) in self.directory_times.iter().rev() {
            let path_of_entry = EntryPath::parse(path, path)?;
            if let Ok(directory) = self.tree.open_directory(&path_of_entry) {
                rustix::fs::futimens(&directory, &times(*time))
                    .map_err(|errno| UnpackError::io("set the time of", path, errno))?;
            }
        }
        let made = self.tree.made();
        let usage = Usage::inode(DIRECTORY_BYTES);
        let usage = self.usage
            + Usage {
                bytes: made * usage.bytes,
                inodes: made,
            };
        Ok(Unpacked {
            implied: self.tree.into_implied(),
            links: self.links,
            usage: (!self.replaced).then_some(usage),
        })
    }

    /// Takes away what stands at a name.
    pub(super) fn take_away(
        &mut self,
        parents: &EntryPath<'_>,
        name: &[u8],
        standing: Present,
        entry: &[u8],
    ) -> Result<(), UnpackError> {
        match standing {
            Present::Nothing => return Ok(()),
            // It may stand for a hard link.
            Present::Whiteout => drop(self.links.remove(&parents.join(name))),
            Present::Other | Present::Directory => {}
        }
        self.replaced = true;
        self.tree.take_away(parents, name, standing, entry)
    }

    /// Counts what has to be remembered until the layer is done.
    pub(super) fn remember(&mut self, bytes: usize, entry: &[u8]) -> Result<(), UnpackError> {
        self.remembered_bytes += bytes;
        if self.remembered_bytes > limit::REMEMBERED {
            return Err(UnpackError::refused(
                entry,
                "the layer has too many directories or links",
            ));
        }
        Ok(())
    }

    fn root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != EntryKind::Directory {
            return Err(UnpackError::refused(
                &entry.path,
                "it would take the place of the root",
            ));
        }
        let root = EntryPath::parse(b"", b"")?;
        self.describe_directory(entry, &root)
    }

    fn directory(
        &mut self,
        entry: &Entry,
        path: &EntryPath<'_>,
        parents: &EntryPath<'_>,
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let parent = self.tree.open_parent(parents, &entry.path)?;
        let standing = present(parent, name).map_err(|errno| io("look up", entry, errno))?;
        if standing != Present::Directory {
            self.take_away(parents, name, standing, &entry.path)?;
            self.usage += Usage::inode(DIRECTORY_BYTES);
            let parent = self.tree.open_parent(parents, &entry.path)?;
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))
                .map_err(|errno| io("create", entry, errno))?;
            if standing == Present::Whiteout {
                whiteout::set_opaque(parent, name, &entry.path)?;
            }
        }
        self.describe_directory(entry, path)
    }

    fn describe_directory(&mut self, entry: &Entry, path: &EntryPath<'_>) -> Result<(), UnpackError> {
        let directory = self
            .tree
            .open_directory(path)
            .map_err(|errno| resolve_error(&entry.path, errno))?;
        describe(directory.as_fd(), entry)?;
        self.tree.set_explicit(path);
        let bytes = path.bytes();
        self.remember(bytes.len(), &entry.path)?;
        self.directory_times.push((bytes, entry.mtime));
        Ok(())
    }
}

fn file<R: Read>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    archive: &mut Archive<R>,
    buffer: &mut [u8],
) -> Result<(), UnpackError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
        .map_err(|errno| io("create", entry, errno))?;
    let file = File::from(file);
    match &entry.sparse {
        None => fill(&file, entry, entry.size, archive, buffer)?,
        Some(sparse) => {
            for (offset, length) in &sparse.parts {
                (&file)
                    .seek(SeekFrom::Start(*offset))
                    .map_err(|error| too_long(entry, error))?;
                fill(&file, entry, *length, archive, buffer)?;
            }
            file.set_len(sparse.size)
                .map_err(|error| too_long(entry, error))?;
        }
    }
    describe(file.as_fd(), entry)?;
    rustix::fs::futimens(&file, &times(entry.mtime)).map_err(|errno| io("set the time of", entry, errno))
}

/// Writes the next bytes of the archive where the file is.
fn fill<R: Read>(
    mut file: &File,
    entry: &Entry,
    length: u64,
    archive: &mut Archive<R>,
    buffer: &mut [u8],
) -> Result<(), UnpackError> {
    let mut left = length;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        archive
            .read_exact(&mut buffer[..wanted])
            .map_err(super::archive::read_error)?;
        file.write_all(&buffer[..wanted])
            .map_err(|error| too_long(entry, error))?;
        left -= wanted as u64;
    }
    Ok(())
}

/// A file with holes may claim to be longer than the file system takes.
fn too_long(entry: &Entry, error: std::io::Error) -> UnpackError {
    match error.kind() {
        std::io::ErrorKind::FileTooLarge | std::io::ErrorKind::InvalidInput => {
            UnpackError::refused(&entry.path, "it is longer than this file system takes")
        }
        _ => UnpackError::io("write", &entry.path, error),
    }
}

/// Owner, mode and attributes of a file or directory that is open.
fn describe(file: BorrowedFd<'_>, entry: &Entry) -> Result<(), UnpackError> {
    rustix::fs::fchown(file, Some(uid(entry)), Some(gid(entry)))
        .map_err(|errno| io("set the owner of", entry, errno))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))
        .map_err(|errno| io("set the mode of", entry, errno))?;
    for (name, value) in wanted_attributes(entry) {
        tolerate(
            rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()),
            entry,
        )?;
    }
    Ok(())
}

/// A symlink, device or fifo. Opening one has side effects, so everything goes by its directory and name.
fn special(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
    let device = rustix::fs::makedev(entry.device.0, entry.device.1);
    let made = match entry.kind {
        EntryKind::Symlink => {
            if entry.link.is_empty() || entry.link.contains(&0) {
                return Err(UnpackError::refused(
                    &entry.path,
                    "its target is empty or holds a NUL byte",
                ));
            }
            rustix::fs::symlinkat(entry.link.as_slice(), parent, name)
        }
        EntryKind::CharacterDevice => mknod(parent, name, FileType::CharacterDevice, device),
        EntryKind::BlockDevice => mknod(parent, name, FileType::BlockDevice, device),
        EntryKind::Fifo => mknod(parent, name, FileType::Fifo, 0),
        EntryKind::File | EntryKind::Directory | EntryKind::HardLink => Ok(()),
    };
    made.map_err(|errno| io("create", entry, errno))?;
    rustix::fs::chownat(
        parent,
        name,
        Some(uid(entry)),
        Some(gid(entry)),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(|errno| io("set the owner of", entry, errno))?;
    if entry.kind != EntryKind::Symlink {
        // The name was just made and is no symlink, which chmod would follow.
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(|errno| io("set the mode of", entry, errno))?;
    }
    if wanted_attributes(entry).next().is_some() {
        let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        for (attribute, value) in wanted_attributes(entry) {
            tolerate(
                rustix::fs::lsetxattr(path.as_slice(), attribute, value, XattrFlags::empty()),
                entry,
            )?;
        }
    }
    rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| io("set the time of", entry, errno))
}

fn mknod(parent: BorrowedFd<'_>, name: &[u8], kind: FileType, device: u64) -> Result<(), Errno> {
    rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)
}

/// The attributes that a layer may set. Those of overlayfs are this crate's own: a layer that sets them could graft
/// one part of the lower tree onto another.
fn wanted_attributes(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    entry
        .xattrs
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .filter(|(name, _)| {
            !name.starts_with(b"trusted.overlay.")
                && !name.starts_with(b"user.overlay.")
                && *name != b"security.selinux"
        })
}

/// An attribute that this file system or this kind of file cannot have is left out, as other engines do.
fn tolerate(result: Result<(), Errno>, entry: &Entry) -> Result<(), UnpackError> {
    match result {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::PERM) => {
            tracing::debug!(entry = %show(&entry.path), "an extended attribute cannot be set");
            Ok(())
        }
        Err(Errno::INVAL | Errno::RANGE | Errno::TOOBIG) => Err(UnpackError::refused(
            &entry.path,
            "an extended attribute of it is invalid",
        )),
        Err(errno) => Err(io("set an attribute of", entry, errno)),
    }
}

fn uid(entry: &Entry) -> Uid {
    Uid::from_raw(entry.uid)
}

fn gid(entry: &Entry) -> Gid {
    Gid::from_raw(entry.gid)
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

pub(super) fn io(operation: &'static str, entry: &Entry, errno: Errno) -> UnpackError {
    UnpackError::io(operation, &entry.path, errno)
}
