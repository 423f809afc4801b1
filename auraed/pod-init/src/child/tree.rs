//! The kernel's own trees in a container: /proc, /sys and /sys/fs/cgroup, and what of them is hidden or read-only.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, mkdirat, open, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::mount::{self, LOCKED, Opt};
use super::path;
use crate::fault::{Blame, Fault, Result};
use crate::protocol::CgroupDirectory;

/// Attaches one of a container's own file systems, making its place if the image has none. A link there is refused: what
/// is mounted and masked below must be where programs look for it.
pub(crate) fn attach_at(root: BorrowedFd<'_>, mount: BorrowedFd<'_>, place: &str) -> Result<()> {
    let target = match path::open_without_links(root, place, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => {
            mkdirat(root, place.trim_start_matches('/'), Mode::from_raw_mode(0o755))
                .blame_container(format_args!("make {place}"))?;
            path::open_without_links(root, place, OFlags::PATH | OFlags::DIRECTORY)
        }
        result => result,
    };
    let target = target.blame_container(format_args!("{place} of the image"))?;
    mount::attach(mount, target.as_fd()).blame_node(format_args!("mount {place}"))
}

/// Mounts /proc of the PID namespace that this process is in.
pub(crate) fn mount_proc(root: BorrowedFd<'_>) -> Result<()> {
    attach_at(root, mount::make("proc", &[], LOCKED)?.as_fd(), "/proc")
}

/// Mounts /sys of the network namespace that this process is in, and the container's cgroup below it.
pub(crate) fn mount_sys(root: BorrowedFd<'_>, cgroups: &[CgroupDirectory], writable: bool) -> Result<()> {
    let attributes = if writable {
        LOCKED
    } else {
        LOCKED | MountAttrFlags::MOUNT_ATTR_RDONLY
    };
    attach_at(root, mount::make("sysfs", &[], attributes)?.as_fd(), "/sys")?;
    match cgroups {
        [] => Ok(()),
        [only] if only.controllers.is_empty() => {
            attach_at(root, copy_cgroup(only, attributes)?.as_fd(), "/sys/fs/cgroup")
        }
        several => mount_hierarchies(root, several, attributes),
    }
}

/// Version 1: a directory for each hierarchy, in a small file system of our own.
fn mount_hierarchies(
    root: BorrowedFd<'_>,
    cgroups: &[CgroupDirectory],
    attributes: MountAttrFlags,
) -> Result<()> {
    let tmpfs = mount::make(
        "tmpfs",
        &[Opt::Value("mode", "0755"), Opt::Value("size", "64k")],
        LOCKED,
    )?;
    for cgroup in cgroups {
        let name = cgroup.controllers.as_str();
        mkdirat(&tmpfs, name, Mode::from_raw_mode(0o755)).blame_node("make /sys/fs/cgroup")?;
        for alias in name.split(',').filter(|alias| *alias != name) {
            symlinkat(name, &tmpfs, alias).blame_node("make /sys/fs/cgroup")?;
        }
    }
    attach_at(root, tmpfs.as_fd(), "/sys/fs/cgroup")?;
    for cgroup in cgroups {
        let name = cgroup.controllers.as_str();
        let target =
            path::open_without_links(tmpfs.as_fd(), name, OFlags::PATH).blame_node("open /sys/fs/cgroup")?;
        let copy = copy_cgroup(cgroup, attributes)?;
        mount::attach(copy.as_fd(), target.as_fd()).blame_node("mount /sys/fs/cgroup")?;
    }
    if attributes.contains(MountAttrFlags::MOUNT_ATTR_RDONLY) {
        mount::make_only_this_read_only(tmpfs.as_fd()).blame_node("protect /sys/fs/cgroup")?;
    }
    Ok(())
}

fn copy_cgroup(cgroup: &CgroupDirectory, attributes: MountAttrFlags) -> Result<OwnedFd> {
    let copy = mount::copy(&cgroup.path, false).blame_node(format_args!("copy {}", cgroup.path.display()))?;
    crate::sys::set_mount_attributes(copy.as_fd(), false, attributes.bits().into(), 0)
        .blame_node("protect /sys/fs/cgroup")?;
    Ok(copy)
}

/// Hides `masked`: directories become empty, files become /dev/null. What does not exist needs no mask. Links of the image are
/// followed inside its root.
pub(crate) fn mask(root: BorrowedFd<'_>, masked: &[String]) -> Result<()> {
    let mut empty: Option<OwnedFd> = None;
    let mut null: Option<OwnedFd> = None;
    for place in masked {
        let target = match path::open(root, place, OFlags::PATH) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(error) => return Err(error).blame_container(format_args!("mask {place}")),
        };
        let stat = fstat(&target).blame_node(format_args!("mask {place}"))?;
        let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            cover(&mut empty, empty_directory)?
        } else {
            cover(&mut null, || null_device(root))?
        };
        mount::attach(cover.as_fd(), target.as_fd()).blame_node(format_args!("mask {place}"))?;
    }
    Ok(())
}

/// The first use of a cover attaches it; later ones attach copies of it.
fn cover(first: &mut Option<OwnedFd>, make: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    match first {
        Some(first) => mount::copy_of(first.as_fd(), false).blame_node("copy a mask"),
        None => {
            let made = make()?;
            let kept = made.try_clone().blame_node("keep a mask")?;
            *first = Some(kept);
            Ok(made)
        }
    }
}

fn empty_directory() -> Result<OwnedFd> {
    mount::make(
        "tmpfs",
        &[Opt::Value("nr_inodes", "1")],
        LOCKED | MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
}

/// A copy of the container's /dev/null, if that is what it is: whatever else lies there would be written to.
fn null_device(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let null = path::open_without_links(root, "/dev/null", OFlags::PATH).blame_container("open /dev/null")?;
    let stat = fstat(&null).blame_node("look at /dev/null")?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !is_device || stat.st_rdev != rustix::fs::makedev(1, 3) {
        return Err(Fault::Container("/dev/null is not the null device".to_owned()));
    }
    mount::copy_of(null.as_fd(), false).blame_node("copy /dev/null")
}

/// Makes parts of the container's trees read-only. What does not exist needs no protection.
pub(crate) fn protect(root: BorrowedFd<'_>, read_only: &[String]) -> Result<()> {
    for place in read_only {
        let target = match path::open(root, place, OFlags::PATH) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(error) => return Err(error).blame_container(format_args!("protect {place}")),
        };
        let copy = mount::copy_of(target.as_fd(), true).blame_node(format_args!("copy {place}"))?;
        mount::make_read_only(copy.as_fd()).blame_node(format_args!("protect {place}"))?;
        mount::attach(copy.as_fd(), target.as_fd()).blame_node(format_args!("protect {place}"))?;
    }
    Ok(())
}

/// The root of this process, for lookups that must not leave it.
pub(crate) fn root() -> Result<OwnedFd> {
    open(
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .blame_node("open the root")
}
