//! The stack of directories that overlayfs joins to an image's root.
//!
//! Each layer is unpacked once, whatever is below it in the images that have it. So where a layer holds `tmp/x` without
//! an entry for `tmp`, its directory `tmp` has an owner and a mode that are made up, and in the joined root they would
//! hide those of a lower layer: /tmp would no longer be sticky. For an image where that changes something, one more
//! directory goes on top of its stack, that holds nothing but the directories in question with their right metadata.
//!
//! What this does not mend: a layer that only implies a directory which is a symlink in a lower layer hides the
//! symlink. Other engines that unpack layers one by one do the same.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::layers::{EMPTY, Layers, Pin};
use crate::unpack::{OPAQUE_ATTRIBUTE, open_beneath};
use crate::{Digest, Layer};

/// More implied directories than this are taken as they are; honest layers have few.
const MOST: usize = 65_536;

/// What is asked of one layer.
struct Opened {
    root: OwnedFd,
    implied: HashSet<Vec<u8>>,
}

/// A path as one layer has it.
enum Seen {
    /// Nothing here; what lower layers have shows.
    Nothing,
    /// Here is something that hides what lower layers have, or a parent of it does.
    Hidden,
    /// A directory; lower layers add to it unless it is opaque, by itself or by a parent.
    Directory {
        metadata: Metadata,
        explicit: bool,
        opaque: bool,
    },
}

#[derive(Debug, Clone)]
struct Metadata {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, i64),
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Metadata {
    fn looks_like(&self, other: &Metadata) -> bool {
        (self.mode, self.uid, self.gid, &self.xattrs) == (other.mode, other.uid, other.gid, &other.xattrs)
    }
}

/// The names of the directories for an image's root, top first, none twice; makes the correction if it takes one.
/// All layers must be here and pinned. Blocks.
pub(crate) fn stack(layers: &Layers, image: &[Layer], pin: &mut Pin) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for layer in image.iter().rev() {
        let name = layer.diff_id.file_name();
        let opaque = is_opaque(&layers.root(&name))?;
        // A layer that comes again higher up brings everything back, whatever was between.
        if !names.contains(&name) {
            names.push(name);
        }
        if opaque {
            break;
        }
    }
    if names.is_empty() {
        return Ok(vec![EMPTY.to_owned()]);
    }
    let opened = names
        .iter()
        .map(|name| open(layers, name))
        .collect::<io::Result<Vec<_>>>()?;
    let directories = corrections(&opened)?;
    if !directories.is_empty() {
        let chain = format!("chain-{}", Digest::sha256(names.join("\n").as_bytes()).hex());
        pin.add(chain.clone());
        if !layers.exists(&chain) {
            make(layers, &chain, &directories)?;
        }
        names.insert(0, chain);
    }
    Ok(names)
}

fn open(layers: &Layers, name: &str) -> io::Result<Opened> {
    let implied = fs_err::read(layers.path(name).join("implied"))?;
    let mut implied: Vec<&[u8]> = implied.split(|byte| *byte == 0).collect();
    // Each path is ended by a NUL, so nothing follows the last.
    implied.pop();
    Ok(Opened {
        root: open_directory(&layers.root(name))?,
        implied: implied.into_iter().map(<[u8]>::to_vec).collect(),
    })
}

/// The directories to put on top, with their parents, parents first.
fn corrections(layers: &[Opened]) -> io::Result<Vec<(Vec<u8>, Metadata)>> {
    let implied: BTreeSet<&Vec<u8>> = layers.iter().flat_map(|layer| &layer.implied).collect();
    if implied.len() > MOST {
        tracing::warn!(
            count = implied.len(),
            "too many implied directories; their metadata is taken as it is"
        );
        return Ok(Vec::new());
    }
    let mut wanted = BTreeSet::new();
    for path in implied {
        if let Some((shown, right)) = metadata(layers, path)?
            && !shown.looks_like(&right)
        {
            wanted.insert(path.clone());
            wanted.extend(parents(path));
        }
    }
    let mut directories = Vec::new();
    for path in wanted {
        if let Some((_, right)) = metadata(layers, &path)? {
            directories.push((path, right));
        }
    }
    Ok(directories)
}

fn parents(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
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

/// What the joined root shows for a directory, and what it should show: the metadata of the topmost layer that has an
/// entry for it. `None` where it shows no directory.
fn metadata(layers: &[Opened], path: &[u8]) -> io::Result<Option<(Metadata, Metadata)>> {
    let mut shown: Option<Metadata> = None;
    for layer in layers {
        match layer.look(path)? {
            Seen::Nothing => {}
            Seen::Hidden => break,
            Seen::Directory {
                metadata,
                explicit,
                opaque,
            } => {
                let top = shown.get_or_insert_with(|| metadata.clone()).clone();
                if explicit {
                    return Ok(Some((top, metadata)));
                }
                if opaque {
                    break;
                }
            }
        }
    }
    Ok(shown.map(|metadata| (metadata.clone(), metadata)))
}

impl Opened {
    fn look(&self, path: &[u8]) -> io::Result<Seen> {
        let mut opaque = false;
        let ends = parents(path).map(|parent| parent.len()).chain([path.len()]);
        for end in ends {
            let prefix = &path[..end];
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match open_beneath(self.root.as_fd(), prefix, flags, ResolveFlags::NO_SYMLINKS) {
                Ok(directory) if end == path.len() => {
                    let explicit = !self.implied.contains(path);
                    opaque |= has_opaque(&directory)?;
                    return Ok(Seen::Directory {
                        metadata: Metadata::of(&directory)?,
                        explicit,
                        opaque,
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
}

impl Metadata {
    fn of(directory: &OwnedFd) -> io::Result<Metadata> {
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
    let mut names = vec![0; 65_536];
    let length = match rustix::fs::flistxattr(directory, names.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let names = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let foreign = |name: &&[u8]| !name.starts_with(b"trusted.overlay.") && *name != b"security.selinux";
    Ok(names.filter(foreign).map(<[u8]>::to_vec).collect())
}

fn make(layers: &Layers, name: &str, directories: &[(Vec<u8>, Metadata)]) -> io::Result<()> {
    let staging = layers.ingest().staging()?;
    let root = staging.root();
    let path = |relative: &[u8]| {
        if relative.is_empty() {
            root.clone()
        } else {
            root.join(OsStr::from_bytes(relative))
        }
    };
    for (relative, metadata) in directories {
        if !relative.is_empty() {
            fs_err::create_dir(path(relative))?;
        }
        let directory = open_directory(&path(relative))?;
        rustix::fs::fchown(
            &directory,
            Some(Uid::from_raw(metadata.uid)),
            Some(Gid::from_raw(metadata.gid)),
        )?;
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(metadata.mode))?;
        for (attribute, value) in &metadata.xattrs {
            rustix::fs::fsetxattr(
                &directory,
                OsStr::from_bytes(attribute),
                value,
                XattrFlags::empty(),
            )?;
        }
    }
    // Children touch their parents, so times come last, children first.
    for (relative, metadata) in directories.iter().rev() {
        let time = Timespec {
            tv_sec: metadata.mtime.0,
            tv_nsec: metadata.mtime.1,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(rustix::fs::CWD, path(relative), &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    staging.remove_replaced();
    layers.publish(staging, name)
}

fn is_opaque(root: &Path) -> io::Result<bool> {
    has_opaque(&open_directory(root)?)
}

fn has_opaque(directory: &OwnedFd) -> io::Result<bool> {
    let mut value = [0; 1];
    match rustix::fs::fgetxattr(directory, OPAQUE_ATTRIBUTE, &mut value[..]) {
        Ok(length) => Ok(length == 1 && value == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        // Longer than the one value there is.
        Err(Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests;
