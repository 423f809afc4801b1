//! Overlays of image layers.

use std::ffi::CString;
use std::fmt::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::mount::{MountAttrFlags, MountFlags, mount};

use super::mount::{self, Opt};
use crate::fault::{Blame, Result};

/// Option values are at most this long (`fsconfig`'s strndup_user).
const MAX_VALUE_BYTES: usize = 255;

/// What an overlay is made of.
pub(crate) struct Overlay<'a> {
    /// The top layer first; at least two of them if nothing can be written.
    pub(crate) lowers: &'a [PathBuf],
    /// Where is written, and overlay's own directory beside.
    pub(crate) writable: Option<(&'a Path, &'a Path)>,
}

impl Overlay<'_> {
    /// Mounts it on top of `place` and returns its root.
    pub(super) fn mount(&self, place: BorrowedFd<'_>) -> Result<OwnedFd> {
        let root = match self.detached() {
            Ok(root) => root,
            // Before Linux 6.5 there is no `lowerdir+`.
            Err(first) => return self.legacy(place).map_err(|_| first),
        };
        mount::attach(root.as_fd(), place).blame_node("attach an overlay")?;
        Ok(root)
    }

    /// Makes a mount of it that is attached nowhere, since Linux 6.5.
    pub(crate) fn detached(&self) -> Result<OwnedFd> {
        let lowers: Vec<Value> = self
            .lowers
            .iter()
            .map(|lower| Value::of(lower))
            .collect::<Result<_>>()?;
        let mut options: Vec<Opt<'_>> = lowers
            .iter()
            .map(|lower| Opt::Value("lowerdir+", &lower.text))
            .collect();
        let written = match self.writable {
            Some((upper, work)) => Some((Value::of(upper)?, Value::of(work)?)),
            None => None,
        };
        if let Some((upper, work)) = &written {
            options.push(Opt::Value("upperdir", &upper.text));
            options.push(Opt::Value("workdir", &work.text));
            // A crash of the machine ends the container anyway: nothing of it needs to be on the disk, ever.
            options.push(Opt::Flag("volatile"));
        }
        mount::make("overlay", &options, self.attributes())
    }

    fn attributes(&self) -> MountAttrFlags {
        match self.writable {
            Some(_) => MountAttrFlags::empty(),
            None => MountAttrFlags::MOUNT_ATTR_RDONLY,
        }
    }

    /// The same by mount(2), whose options are one text of at most a page.
    fn legacy(&self, place: BorrowedFd<'_>) -> Result<OwnedFd> {
        let lowers: Vec<Value> = self
            .lowers
            .iter()
            .map(|lower| Value::short(lower))
            .collect::<Result<_>>()?;
        let mut options = "lowerdir=".to_owned();
        for (index, lower) in lowers.iter().enumerate() {
            let separator = if index > 0 { ":" } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(options, "{separator}{}", lower.text);
        }
        let written = match self.writable {
            Some((upper, work)) => Some((Value::short(upper)?, Value::short(work)?)),
            None => None,
        };
        let mut flags = MountFlags::RDONLY;
        if let Some((upper, work)) = &written {
            let _ = write!(options, ",upperdir={},workdir={},volatile", upper.text, work.text);
            flags = MountFlags::empty();
        }
        let target = format!("/proc/self/fd/{}", place.as_raw_fd());
        let options = CString::new(options).blame_node("mount overlay")?;
        mount("overlay", &target, "overlay", flags, options.as_c_str()).blame_node("mount overlay")?;
        // A magic link leads below what was just mounted; a path leads to its top.
        let path = rustix::fs::readlink(&target, Vec::new()).blame_node("find the overlay")?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(path, flags, Mode::empty()).blame_node("open the overlay")
    }
}

/// A directory as an option's value: its path, or a short name of it where the path is too long.
struct Value {
    text: String,
    _open: Option<OwnedFd>,
}

impl Value {
    fn of(path: &Path) -> Result<Self> {
        match path.to_str() {
            Some(text) if text.len() <= MAX_VALUE_BYTES => Ok(Self {
                text: text.to_owned(),
                _open: None,
            }),
            _ => Self::short(path),
        }
    }

    fn short(path: &Path) -> Result<Self> {
        let directory = open_directory(path)?;
        Ok(Self {
            text: format!("/proc/self/fd/{}", directory.as_raw_fd()),
            _open: Some(directory),
        })
    }
}

/// Opens a directory of the host's tree.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).blame_node(format_args!("open {}", path.display()))
}
