//! Makes one entry of a layer: file, directory, link, device, with its owner, mode, attributes and time.
//!
//! The order of the calls matters: chown clears setuid bits and file capabilities, so mode and attributes come after
//! it; making an entry touches its directory, so the times of directories are set when everything is made.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::error::{UnpackError, show};
use super::limit;
use super::tree::{EntryPath, Present, Tree, present, resolve_error};
use super::whiteout::{self, Name};
use super::{Archive, ArchiveError, Entry, EntryKind, Unpacked};
use crate::Usage;

/// Applies entries one after another.
pub(super) struct Unpacker {
    pub(super) tree: Tree,
    directories: Vec<Directory>,
    pub(super) links: BTreeMap<Vec<u8>, Vec<u8>>,
    deleted_in: HashSet<Vec<u8>>,
    remembered_bytes: usize,
    pub(super) usage: Usage,
    /// Entries took the place of others, which are in `usage`.
    replaced: bool,
}

/// What a directory gets when everything in it is made.
struct Directory {
    path: Vec<u8>,
    time: (i64, u32),
    /// What is made in it would inherit that.
    default_acl: Option<Vec<u8>>,
}

/// acl(5), "Object Creation and Default ACLs". Nothing but a directory can have one.
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
/// Targets of symlinks below this length are in the inode: ext4, "Symbolic Links".
const SHORT_LINK: usize = 60;
/// What a directory takes that is not very large.
const DIRECTORY_BYTES: u64 = 1;

impl Unpacker {
    pub(super) fn new(root: OwnedFd, replaced: OwnedFd) -> Unpacker {
        Unpacker {
            tree: Tree::new(root, replaced),
            directories: Vec::new(),
            links: BTreeMap::new(),
            deleted_in: HashSet::new(),
            remembered_bytes: 0,
            usage: Usage::inode(DIRECTORY_BYTES),
            replaced: false,
        }
    }

    /// Makes an entry, reading its content from the archive.
    pub(super) fn apply<R: BufRead>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), UnpackError> {
        let path = EntryPath::parse(&entry.path, &entry.path)?;
        let Some((parents, name)) = path.split() else {
            return self.root(entry);
        };
        let named = match whiteout::classify(&path, &entry.path)? {
            // What overlayfs takes for a whiteout is one, whatever it is called.
            Name::Plain if entry.kind == EntryKind::CharacterDevice && entry.device == (0, 0) => {
                Name::Deletes(name)
            }
            named => named,
        };
        match named {
            Name::Ignored => Ok(()),
            Name::Deletes(deleted) => {
                self.usage += Usage::inode(0);
                whiteout::delete(&mut self.tree, &parents, deleted, &entry.path)?;
                self.deleted_in(&parents, &entry.path)
            }
            Name::Opaque => {
                self.tree.open_parent(&parents, &entry.path)?;
                self.tree.set_opaque(&parents, b".", &entry.path)
            }
            Name::Plain if entry.kind == EntryKind::Directory => self.directory(entry, &path, &parents, name),
            Name::Plain => match entry.kind {
                EntryKind::HardLink => {
                    let parent = self.tree.open_parent(&parents, &entry.path)?;
                    let standing = present(parent, name).map_err(|errno| io("look up", entry, errno))?;
                    self.hard_link(entry, &path, standing)
                }
                EntryKind::File => {
                    let file = self.place(entry, &parents, name, |parent| create(parent, name))?;
                    self.usage += Usage::inode(entry.size);
                    fill_and_describe(&File::from(file), entry, archive)
                }
                _ => {
                    check_special(entry)?;
                    self.place(entry, &parents, name, |parent| special(parent, name, entry))?;
                    self.usage += Usage::inode(if entry.link.len() < SHORT_LINK { 0 } else { 1 });
                    describe_special(self.tree.open_parent(&parents, &entry.path)?, name, entry)
                }
            },
        }
    }

    /// Makes something at a name. Rarely anything is in its way, so that is looked for when it is.
    fn place<T>(
        &mut self,
        entry: &Entry,
        parents: &EntryPath<'_>,
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        let failed = |errno| io("create", entry, errno);
        let parent = self.tree.open_parent(parents, &entry.path)?;
        match make(parent) {
            Err(Errno::EXIST) => {}
            made => return made.map_err(failed),
        }
        let standing = present(parent, name).map_err(|errno| io("look up", entry, errno))?;
        self.take_away(parents, name, standing, &entry.path)?;
        make(self.tree.open_parent(parents, &entry.path)?).map_err(failed)
    }

    /// Sets the times of directories. One that was replaced meanwhile has no time to set.
    pub(super) fn finish(self) -> Result<Unpacked, UnpackError> {
        // In their order, so that what was said last of one counts.
        for Directory {
            path,
            time,
            default_acl,
        } in &self.directories
        {
            let path_of_entry = EntryPath::parse(path, path)?;
            if let Ok(directory) = self.tree.open_directory(&path_of_entry) {
                if let Some(acl) = default_acl {
                    let set = rustix::fs::fsetxattr(&directory, DEFAULT_ACL, acl, XattrFlags::empty());
                    tolerate(set, path)?;
                }
                rustix::fs::futimens(&directory, &times(*time))
                    .map_err(|errno| UnpackError::io("set the time of", path, errno))?;
            }
        }
        let (made, opaque) = (self.tree.made(), self.tree.has_opaque());
        let usage = Usage::inode(DIRECTORY_BYTES);
        let usage = self.usage
            + Usage {
                bytes: made * usage.bytes,
                inodes: made,
            };
        Ok(Unpacked {
            implied: self.tree.into_implied(),
            links: self.links,
            deleted_in: self.deleted_in,
            opaque,
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

    /// Remembers that there is a whiteout in a directory.
    pub(super) fn deleted_in(&mut self, directory: &EntryPath<'_>, entry: &[u8]) -> Result<(), UnpackError> {
        let path = directory.bytes();
        if self.deleted_in.contains(&path) {
            return Ok(());
        }
        self.remember(path.len(), entry)?;
        self.deleted_in.insert(path);
        Ok(())
    }

    /// Counts what has to be remembered until the layer is done.
    pub(super) fn remember(&mut self, bytes: usize, entry: &[u8]) -> Result<(), UnpackError> {
        self.remembered_bytes += bytes + limit::REMEMBERED_EACH;
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
        let directory = self.tree.open_directory(&root);
        let directory = directory.map_err(|errno| resolve_error(&entry.path, errno))?;
        self.describe_directory(entry, &root, directory)
    }

    fn directory(
        &mut self,
        entry: &Entry,
        path: &EntryPath<'_>,
        parents: &EntryPath<'_>,
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let parent = self.tree.open_parent(parents, &entry.path)?;
        let make = |parent: BorrowedFd<'_>| rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700));
        let made = match make(parent) {
            Err(Errno::EXIST) => {
                let standing = present(parent, name).map_err(|errno| io("look up", entry, errno))?;
                if standing != Present::Directory {
                    self.take_away(parents, name, standing, &entry.path)?;
                    make(self.tree.open_parent(parents, &entry.path)?)
                        .map_err(|errno| io("create", entry, errno))?;
                }
                if standing == Present::Whiteout {
                    self.tree.set_opaque(parents, name, &entry.path)?;
                }
                standing != Present::Directory
            }
            made => made.map(|()| true).map_err(|errno| io("create", entry, errno))?,
        };
        if made {
            self.usage += Usage::inode(DIRECTORY_BYTES);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = self.tree.open_parent(parents, &entry.path)?;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty())
            .map_err(|errno| io("open", entry, errno))?;
        self.describe_directory(entry, path, directory)
    }

    fn describe_directory(
        &mut self,
        entry: &Entry,
        path: &EntryPath<'_>,
        directory: OwnedFd,
    ) -> Result<(), UnpackError> {
        describe(directory.as_fd(), entry)?;
        let bytes = path.bytes();
        self.tree.set_explicit(&bytes);
        let mut default_acl = entry.xattrs.iter().filter(|(name, _)| name == DEFAULT_ACL);
        let default_acl = default_acl.next_back().map(|(_, acl)| acl.clone());
        let remembered = bytes.len() + default_acl.as_ref().map_or(0, Vec::len);
        self.remember(remembered, &entry.path)?;
        self.directories.push(Directory {
            path: bytes,
            time: entry.mtime,
            default_acl,
        });
        // Its own entries come next.
        self.tree.keep_open(path, directory);
        Ok(())
    }
}

fn create(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
}

fn fill_and_describe<R: BufRead>(
    mut file: &File,
    entry: &Entry,
    archive: &mut Archive<R>,
) -> Result<(), UnpackError> {
    match &entry.sparse {
        None => fill(file, entry, entry.size, archive)?,
        Some(sparse) => {
            for (offset, length) in &sparse.parts {
                file.seek(SeekFrom::Start(*offset))
                    .map_err(|error| too_long(entry, error))?;
                fill(file, entry, *length, archive)?;
            }
            file.set_len(sparse.size)
                .map_err(|error| too_long(entry, error))?;
        }
    }
    describe(file.as_fd(), entry)?;
    rustix::fs::futimens(file, &times(entry.mtime)).map_err(|errno| io("set the time of", entry, errno))
}

/// Writes the next bytes of the archive where the file is.
fn fill<R: BufRead>(
    mut file: &File,
    entry: &Entry,
    length: u64,
    archive: &mut Archive<R>,
) -> Result<(), UnpackError> {
    let mut left = length;
    while left > 0 {
        let content = archive.content(left)?;
        if content.is_empty() {
            return Err(ArchiveError::Truncated("an entry").into());
        }
        let written = content.len();
        file.write_all(content).map_err(|error| too_long(entry, error))?;
        archive.consume(written);
        left -= written as u64;
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
            &entry.path,
        )?;
    }
    Ok(())
}

fn check_special(entry: &Entry) -> Result<(), UnpackError> {
    if entry.kind == EntryKind::Symlink && (entry.link.is_empty() || entry.link.contains(&0)) {
        return Err(UnpackError::refused(
            &entry.path,
            "its target is empty or holds a NUL byte",
        ));
    }
    // Of a larger number the kernel would take a part, which is another device's: major 12 bits, minor 20.
    if entry.device.0 > 0xfff || entry.device.1 > 0xf_ffff {
        return Err(UnpackError::refused(
            &entry.path,
            "there are no devices of its number",
        ));
    }
    Ok(())
}

/// A symlink, device or fifo.
fn special(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Errno> {
    let device = rustix::fs::makedev(entry.device.0, entry.device.1);
    match entry.kind {
        EntryKind::Symlink => rustix::fs::symlinkat(entry.link.as_slice(), parent, name),
        EntryKind::CharacterDevice => mknod(parent, name, FileType::CharacterDevice, device),
        EntryKind::BlockDevice => mknod(parent, name, FileType::BlockDevice, device),
        EntryKind::Fifo => mknod(parent, name, FileType::Fifo, 0),
        EntryKind::File | EntryKind::Directory | EntryKind::HardLink => Ok(()),
    }
}

/// Opening such a thing has side effects, so everything goes by its directory and name.
fn describe_special(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
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
                &entry.path,
            )?;
        }
    }
    rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| io("set the time of", entry, errno))
}

fn mknod(parent: BorrowedFd<'_>, name: &[u8], kind: FileType, device: u64) -> Result<(), Errno> {
    rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)
}

/// The attributes that a layer may set at once. Those of overlayfs are this crate's own: a layer that sets them could graft
/// one part of the lower tree onto another.
fn wanted_attributes(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    entry
        .xattrs
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .filter(|(name, _)| {
            *name != DEFAULT_ACL
                && !name.starts_with(b"trusted.overlay.")
                && !name.starts_with(b"user.overlay.")
                && *name != b"security.selinux"
        })
}

/// An attribute that this file system or this kind of file cannot have is left out, as other engines do.
fn tolerate(result: Result<(), Errno>, entry: &[u8]) -> Result<(), UnpackError> {
    match result {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::PERM) => {
            tracing::debug!(entry = %show(entry), "an extended attribute cannot be set");
            Ok(())
        }
        Err(Errno::INVAL | Errno::RANGE | Errno::TOOBIG) => Err(UnpackError::refused(
            entry,
            "an extended attribute of it is invalid",
        )),
        Err(errno) => Err(UnpackError::io("set an attribute of", entry, errno)),
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
