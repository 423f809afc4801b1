//! A container's root: an overlay of its image's layers, and the step into it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid, chownat, mkdirat, rmdir, statat, unlink};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{chdir, fchdir, pivot_root};

use super::layers::Layers;
use super::mount;
use super::overlay::{self, Overlay};
use crate::fault::{Blame, Result};
use crate::protocol::Rootfs;

/// Mounts the overlay in this process's own mount namespace and returns its root: the one that was `made` ahead, or a new one.
/// Nobody else sees it; it lies on top of `upper`, which the kernel has looked up by then; beside it are files that are
/// mounted later.
pub(crate) fn assemble(rootfs: &Rootfs, layers: &mut Layers<'_>, made: Option<OwnedFd>) -> Result<OwnedFd> {
    if let Some(root) = made {
        let place = overlay::open_directory(&rootfs.upper)?;
        mount::attach(root.as_fd(), place.as_fd()).blame_node("attach the root")?;
        return Ok(root);
    }
    make_directories(rootfs, layers.owner()?)?;
    layers.prepare(&rootfs.lowers)?;
    let place = overlay::open_directory(&rootfs.upper)?;
    let overlay = Overlay {
        lowers: &rootfs.lowers,
        writable: Some((&rootfs.upper, &rootfs.work)),
    };
    overlay.mount(place.as_fd())
}

/// Makes `root` the root of this process and forgets the host's tree.
pub(crate) fn enter(root: BorrowedFd<'_>) -> Result<()> {
    fchdir(root).blame_node("enter the root")?;
    // Both trees lie on the same place then; see the notes of pivot_root(2).
    pivot_root(".", ".").blame_node("pivot into the root")?;
    unmount(".", UnmountFlags::DETACH).blame_node("leave the host's tree")?;
    chdir("/").blame_node("enter the root")
}

/// Makes the directories that the container's files are written to; they belong to `owner`, or to who this process is.
pub(crate) fn make_directories(rootfs: &Rootfs, owner: Option<(u32, u32)>) -> Result<()> {
    make_directory(&rootfs.upper, owner)?;
    make_directory(&rootfs.work, owner)?;
    // A volatile overlay that was mounted before refuses to be so again: what was written may not be on the disk after the
    // machine has crashed. No container outlives that, so it was an attempt to start this one.
    let mark = rootfs.work.join("work/incompat/volatile");
    let _ = unlink(mark.join("dirty")).and_then(|()| rmdir(&mark));
    Ok(())
}

/// With `owner` also one that is there becomes its.
fn make_directory(path: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    let tried = format_args!("make {}", path.display());
    match mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error).blame_node(tried),
    }
    let Some((uid, gid)) = owner else { return Ok(()) };
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).blame_node(tried)?;
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).blame_node(tried)
}
