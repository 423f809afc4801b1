//! A container's root: an overlay of its image's layers, and the step into it.

use std::fmt::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, open, rmdir, unlink};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{chdir, fchdir, pivot_root};

use super::mount::{self, Opt};
use crate::fault::{Blame, Result};
use crate::protocol::Rootfs;

/// Option values are at most this long (`fsconfig`'s strndup_user).
const MAX_VALUE_BYTES: usize = 255;

/// Mounts the overlay in this process's own mount namespace and returns its root. Nobody else sees it; it lies on top of
/// `upper`, which the kernel has looked up by then; beside it are files that are mounted later.
pub(crate) fn assemble(rootfs: &Rootfs) -> Result<OwnedFd> {
    make_directory(&rootfs.upper)?;
    make_directory(&rootfs.work)?;
    // A volatile overlay that was mounted before refuses to be so again: what was written may not be on the disk after the
    // machine has crashed. No container outlives that, so it was an attempt to start this one.
    let mark = rootfs.work.join("work/incompat/volatile");
    let _ = unlink(mark.join("dirty")).and_then(|()| rmdir(&mark));
    let place = open_directory(&rootfs.upper)?;
    let root = match overlay(rootfs) {
        Ok(root) => root,
        // Before Linux 6.5 there is no `lowerdir+`.
        Err(first) => return legacy_overlay(rootfs, place.as_fd()).map_err(|_| first),
    };
    mount::attach(root.as_fd(), place.as_fd()).blame_node("attach the root")?;
    Ok(root)
}

fn overlay(rootfs: &Rootfs) -> Result<OwnedFd> {
    let directories: Vec<Value> = rootfs
        .lowers
        .iter()
        .map(|lower| Value::of(lower))
        .collect::<Result<_>>()?;
    let (upper, work) = (Value::of(&rootfs.upper)?, Value::of(&rootfs.work)?);
    let mut options: Vec<Opt<'_>> = directories
        .iter()
        .map(|directory| Opt::Value("lowerdir+", &directory.text))
        .collect();
    options.push(Opt::Value("upperdir", &upper.text));
    options.push(Opt::Value("workdir", &work.text));
    // A crash of the machine ends the container anyway: nothing of it needs to be on the disk, ever.
    options.push(Opt::Flag("volatile"));
    mount::make("overlay", &options, MountAttrFlags::empty())
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

/// The same by mount(2), whose options are one text of at most a page.
fn legacy_overlay(rootfs: &Rootfs, place: BorrowedFd<'_>) -> Result<OwnedFd> {
    let lowers: Vec<Value> = rootfs
        .lowers
        .iter()
        .map(|lower| Value::short(lower))
        .collect::<Result<_>>()?;
    let (upper, work) = (Value::short(&rootfs.upper)?, Value::short(&rootfs.work)?);
    let mut options = "lowerdir=".to_owned();
    for (index, lower) in lowers.iter().enumerate() {
        let separator = if index > 0 { ":" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(options, "{separator}{}", lower.text);
    }
    let _ = write!(options, ",upperdir={},workdir={},volatile", upper.text, work.text);
    let target = format!("/proc/self/fd/{}", place.as_raw_fd());
    let options = std::ffi::CString::new(options).blame_node("mount overlay")?;
    mount(
        "overlay",
        &target,
        "overlay",
        MountFlags::empty(),
        options.as_c_str(),
    )
    .blame_node("mount overlay")?;
    // A magic link leads below what was just mounted; a path leads to its top.
    let path = rustix::fs::readlink(&target, Vec::new()).blame_node("find the root")?;
    open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .blame_node("open the root")
}

/// Makes `root` the root of this process and forgets the host's tree.
pub(crate) fn enter(root: BorrowedFd<'_>) -> Result<()> {
    fchdir(root).blame_node("enter the root")?;
    // Both trees lie on the same place then; see the notes of pivot_root(2).
    pivot_root(".", ".").blame_node("pivot into the root")?;
    unmount(".", UnmountFlags::DETACH).blame_node("leave the host's tree")?;
    chdir("/").blame_node("enter the root")
}

fn make_directory(path: &Path) -> Result<()> {
    match mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).blame_node(format_args!("make {}", path.display())),
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .blame_node(format_args!("open {}", path.display()))
}
