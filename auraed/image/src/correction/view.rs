//! What each layer of an image has at a path.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FileType, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::open_directory;
use crate::layers::Layers;
use crate::unpack::{OPAQUE_ATTRIBUTE, open_beneath};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What is asked of one layer.
pub(super) struct Opened {
    root: OwnedFd,
    /// Some directory may be opaque.
    opaque: bool,
    pub(super) implied: HashSet<Vec<u8>>,
    /// Hard links to what is below: path and target.
    pub(super) links: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Directories with whiteouts in them.
    pub(super) deleted_in: Vec<Vec<u8>>,
}

/// A directory's path as one layer has it.
pub(super) enum Seen {
    /// Nothing here; what lower layers have shows.
    Nothing,
    /// Here is something that hides what lower layers have, or a parent of it does.
    Hidden,
    /// A directory; lower layers add to it unless it is opaque, by itself or by a parent.
    Directory {
        metadata: Metadata,
        explicit: bool,
        opaque: bool,
        /// A parent is opaque: it is another directory than one that lower layers have there.
        anew: bool,
    },
}

/// Anything's path as one layer has it.
pub(super) enum Entry {
    /// Nothing here; what lower layers have shows.
    Nothing,
    /// A parent hides what lower layers have, or is no directory.
    Hidden,
    Directory,
    Whiteout,
    /// A name of an open directory.
    Symlink(OwnedFd),
    /// A name of an open directory.
    Other(OwnedFd),
}

/// What a directory has beside its entries.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, i64),
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Metadata {
    pub(super) fn looks_like(&self, other: &Metadata) -> bool {
        (self.mode, self.uid, self.gid, &self.xattrs) == (other.mode, other.uid, other.gid, &other.xattrs)
    }
}

pub(super) fn open(layers: &Layers, name: &str) -> io::Result<Opened> {
    let implied = fs_err::read(layers.implied(name))?;
    let links = read(layers.links(name))?;
    let deleted_in = read(layers.deleted_in(name))?;
    let links: Vec<&[u8]> = terminated(&links).collect();
    Ok(Opened {
        root: open_directory(&layers.root(name))?,
        opaque: layers.may_be_opaque(name),
        implied: terminated(&implied).map(<[u8]>::to_vec).collect(),
        links: links
            .chunks_exact(2)
            .map(|pair| (pair[0].to_vec(), pair[1].to_vec()))
            .collect(),
        deleted_in: terminated(&deleted_in).map(<[u8]>::to_vec).collect(),
    })
}

/// A list that is not there where it would be empty.
fn read(path: std::path::PathBuf) -> io::Result<Vec<u8>> {
    match fs_err::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        bytes => bytes,
    }
}

/// Paths that are each ended by a NUL.
fn terminated(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split_inclusive(|byte| *byte == 0)
        .map(|path| path.strip_suffix(&[0]).unwrap_or(path))
}

impl Opened {
    pub(super) fn look(&self, path: &[u8]) -> io::Result<Seen> {
        let mut opaque = false;
        // Where nothing is opaque the directories on the way need not be looked at one by one.
        let way = parents(path).filter(|_| self.opaque);
        for end in way.map(|parent| parent.len()).chain([path.len()]) {
            let prefix = &path[..end];
            match open_beneath(self.root.as_fd(), prefix, DIRECTORY, ResolveFlags::NO_SYMLINKS) {
                Ok(directory) if end == path.len() => {
                    let explicit = !self.implied.contains(path);
                    return Ok(Seen::Directory {
                        metadata: Metadata::of(&directory)?,
                        explicit,
                        opaque: opaque || self.opaque && has_opaque(&directory)?,
                        anew: opaque,
                    });
                }
                Ok(directory) => opaque |= has_opaque(&directory)?,
                Err(Errno::NOENT) if opaque => return Ok(Seen::Hidden),
                Err(Errno::NOENT) => return Ok(Seen::Nothing),
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Seen::Hidden),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Seen::Nothing)
    }

    /// What is here at a path, which must not lead over links.
    pub(super) fn entry(&self, path: &[u8]) -> io::Result<Entry> {
        let (parent, name) = split(path);
        let opaque = match self.look(parent)? {
            Seen::Nothing => return Ok(Entry::Nothing),
            Seen::Hidden => return Ok(Entry::Hidden),
            Seen::Directory { opaque, .. } => opaque,
        };
        let directory = open_beneath(self.root.as_fd(), parent, DIRECTORY, ResolveFlags::NO_SYMLINKS)?;
        let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if opaque => return Ok(Entry::Hidden),
            Err(Errno::NOENT) => return Ok(Entry::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Entry::Directory,
            FileType::Symlink => Entry::Symlink(directory),
            FileType::CharacterDevice if stat.st_rdev == 0 => Entry::Whiteout,
            _ => Entry::Other(directory),
        })
    }
}

/// The parent and the name; the parent of a single name is the empty path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

impl Metadata {
    pub(super) fn of(directory: &OwnedFd) -> io::Result<Metadata> {
        let stat: Stat = rustix::fs::fstat(directory)?;
        let mut xattrs = BTreeMap::new();
        for name in attribute_names(directory)? {
            let mut value = vec![0; 65_536];
            let length = rustix::fs::fgetxattr(directory, OsStr::from_bytes(&name), value.as_mut_slice())?;
            value.truncate(length);
            xattrs.insert(name, value);
        }
        let mtime = (stat.st_mtime, stat.st_mtime_nsec.cast_signed());
        Ok(Metadata {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime,
            xattrs,
        })
    }
}

/// All attributes but those of overlayfs itself.
fn attribute_names(directory: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    // Most have none, which the length of the list tells.
    let length = match rustix::fs::flistxattr(directory, &mut [0_u8; 0]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let mut names = vec![0; length];
    let length = match length {
        0 => 0,
        _ => rustix::fs::flistxattr(directory, names.as_mut_slice())?,
    };
    let names = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let foreign = |name: &&[u8]| !name.starts_with(b"trusted.overlay.") && *name != b"security.selinux";
    Ok(names.filter(foreign).map(<[u8]>::to_vec).collect())
}

/// All directories on the way to a path, the root first.
pub(super) fn parents(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let slashes = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(index, _)| index);
    let ends: Vec<usize> = if path.is_empty() {
        Vec::new()
    } else {
        std::iter::once(0).chain(slashes).collect()
    };
    ends.into_iter().map(|end| path[..end].to_vec())
}

pub(super) fn has_opaque(directory: &OwnedFd) -> io::Result<bool> {
    let mut value = [0; 1];
    match rustix::fs::fgetxattr(directory, OPAQUE_ATTRIBUTE, &mut value[..]) {
        Ok(length) => Ok(length == 1 && value == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        // Longer than the one value there is.
        Err(Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
