//! The stack of directories that overlayfs joins to an image's root.
//!
//! Each layer is unpacked once, whatever is below it in the images that have it. So where a layer holds `tmp/x` without
//! an entry for `tmp`, its directory `tmp` has an owner and a mode that are made up, and in the joined root they would
//! hide those of a lower layer: /tmp would no longer be sticky. For an image where that changes something, one more
//! directory goes on top of its stack, that holds nothing but the directories in question with their right metadata.
//!
//! In the same directory go directories that overlayfs would show whiteouts of, and the hard links that a layer has to
//! files of lower ones; see `links`.
//!
//! What this does not mend: a layer that only implies a directory which is a symlink in a lower layer hides the
//! symlink. Other engines that unpack layers one by one do the same.

mod links;
mod view;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::layers::{EMPTY, Layers, Pin};
use crate::{Digest, ErrorKind, Layer, Usage};

use links::Source;
use view::{Metadata, Opened, Seen, has_opaque, parents, split};

/// Why the directories of an image do not make a root.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CorrectionError {
    #[error(
        "entry {entry:?} is refused: its hard link to {target:?} leads to no file of this or a lower layer"
    )]
    Link { entry: String, target: String },
    #[error("the image is refused: it has more than {0} hard links to files of lower layers")]
    TooMany(usize),
    #[error("cannot correct the directories of an image")]
    Io(#[from] io::Error),
}

impl CorrectionError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            CorrectionError::Link { .. } | CorrectionError::TooMany(_) => ErrorKind::Refused,
            CorrectionError::Io(_) => ErrorKind::Internal,
        }
    }
}

impl From<Errno> for CorrectionError {
    fn from(errno: Errno) -> CorrectionError {
        CorrectionError::Io(errno.into())
    }
}

/// More implied directories than this are taken as they are; honest layers have few.
const MOST: usize = 65_536;
/// Hard links of one image to files of lower layers.
const MOST_LINKS: usize = 65_536;

/// The names of the directories for an image's root, top first, none twice; makes the correction if it takes one.
/// All layers must be here and pinned. Blocks.
pub(crate) fn stack(layers: &Layers, image: &[Layer], pin: &mut Pin) -> Result<Vec<String>, CorrectionError> {
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
        .map(|name| view::open(layers, name))
        .collect::<io::Result<Vec<_>>>()?;
    let linked: usize = opened.iter().map(|layer| layer.links.len()).sum();
    if linked > MOST_LINKS {
        return Err(CorrectionError::TooMany(MOST_LINKS));
    }
    let links = links::visible(&opened)?;
    let directories = corrections(&opened, &links)?;
    if !directories.is_empty() {
        let chain = format!("chain-{}", Digest::sha256(names.join("\n").as_bytes()).hex());
        pin.add(chain.clone());
        if !layers.exists(&chain) {
            make(layers, &chain, &directories, &links)?;
        }
        names.insert(0, chain);
    }
    Ok(names)
}

/// The directories to put on top, with their parents, parents first.
fn corrections(layers: &[Opened], links: &[(Vec<u8>, Source)]) -> io::Result<Vec<(Vec<u8>, Metadata)>> {
    let mut wanted: BTreeSet<Vec<u8>> = links.iter().flat_map(|(path, _)| parents(path)).collect();
    wanted.extend(implied(layers)?);
    wanted.extend(alone(layers)?);
    let mut directories = Vec::new();
    for path in wanted {
        if let Some((_, right)) = metadata(layers, &path)? {
            directories.push((path, right));
        }
    }
    Ok(directories)
}

/// Implied directories that show otherwise than they should, with their parents.
fn implied(layers: &[Opened]) -> io::Result<BTreeSet<Vec<u8>>> {
    let implied: BTreeSet<&Vec<u8>> = layers.iter().flat_map(|layer| &layer.implied).collect();
    if implied.len() > MOST {
        tracing::warn!(
            count = implied.len(),
            "too many implied directories; their metadata is taken as it is"
        );
        return Ok(BTreeSet::new());
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
    Ok(wanted)
}

/// Directories with whiteouts in them that one layer has alone, with their parents. Overlayfs would list the whiteouts:
/// it takes out what is deleted only where it joins directories.
fn alone(layers: &[Opened]) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut wanted = BTreeSet::new();
    for (index, layer) in layers.iter().enumerate() {
        for path in &layer.deleted_in {
            if is_alone(layers, index, path)? {
                wanted.insert(path.clone());
                wanted.extend(parents(path));
            }
        }
    }
    Ok(wanted)
}

fn is_alone(layers: &[Opened], index: usize, path: &[u8]) -> io::Result<bool> {
    for above in &layers[..index] {
        // It is joined with that one, or does not show.
        if !matches!(above.look(path)?, Seen::Nothing) {
            return Ok(false);
        }
    }
    match layers[index].look(path)? {
        Seen::Directory { opaque: true, .. } => return Ok(true),
        Seen::Directory { .. } => {}
        Seen::Nothing | Seen::Hidden => return Ok(false),
    }
    for below in &layers[index + 1..] {
        match below.look(path)? {
            Seen::Nothing => {}
            Seen::Hidden => return Ok(true),
            Seen::Directory { .. } => return Ok(false),
        }
    }
    Ok(true)
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
                anew,
                ..
            } => {
                let top = shown.get_or_insert_with(|| metadata.clone()).clone();
                if explicit {
                    return Ok(Some((top, metadata)));
                }
                // One that is opaque itself hides the entries that lower layers have, not what the directory is.
                if anew {
                    break;
                }
            }
        }
    }
    Ok(shown.map(|metadata| (metadata.clone(), metadata)))
}

fn make(
    layers: &Layers,
    name: &str,
    directories: &[(Vec<u8>, Metadata)],
    links: &[(Vec<u8>, Source)],
) -> io::Result<()> {
    let mut staging = layers.ingest().staging()?;
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
    for (link, source) in links {
        let (parent, name) = split(link);
        source.link(&open_directory(&path(parent))?, name)?;
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
    // What the links lead to is counted where it is.
    staging.set_usage(directories.iter().map(|_| Usage::inode(1)).sum())?;
    layers.publish(staging, name)
}

fn is_opaque(root: &Path) -> io::Result<bool> {
    has_opaque(&open_directory(root)?)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests;
