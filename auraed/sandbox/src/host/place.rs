//! Where pod inits work: a mount namespace with what they need of the host's tree, and nothing else.
//!
//! A mount namespace is copied as a whole for each pod and each of its containers, and holds on to what the host takes away.
//! A node has a hundred pods' volumes mounted: without them a start is quicker, and they are gone when the host says so.
//! What a container mounts of the host is sent to its pod init open.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::process::{fchdir, pivot_root};

use crate::{cgroup, sys};

/// The kernel's own parts, and whether those have others below that are needed.
const KERNEL: [(&str, bool); 3] = [("/proc", false), ("/dev", true), ("/sys/fs/cgroup", true)];

/// Makes the namespace. It lives as long as the descriptor; what the host mounts later below what it shares appears in it.
///
/// # Errors
/// The first step that the kernel refused.
pub(super) fn make(tree: &cgroup::Tree, state: &Path, run: &Path) -> io::Result<OwnedFd> {
    let kernel = KERNEL.map(|(place, recursive)| (Path::new(place), recursive));
    let odd = tree.mounts().filter(|mount| !mount.starts_with("/sys/fs/cgroup"));
    let own = [state, run].into_iter().chain(odd).map(|place| (place, true));
    let mut places: Vec<(&Path, bool)> = kernel.into_iter().chain(own).collect();
    // What lies in another comes after it.
    places.sort_by_key(|(place, _)| place.components().count());
    // A thread that has left the daemon's mount namespace must not be used for anything else, so it ends here.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mounts".to_owned());
        let thread = thread.spawn_scoped(scope, || build(&places, state))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread of a mount namespace panicked")))
    })
}

/// Takes the calling thread into the new namespace. `scratch` is any directory: the new root lies there at first.
fn build(places: &[(&Path, bool)], scratch: &Path) -> io::Result<OwnedFd> {
    sys::unshare_mounts()?;
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )?;
    let copies: Vec<(&Path, OwnedFd)> = places
        .iter()
        .map(|(place, recursive)| copy(place, *recursive).map(|copy| (*place, copy)))
        .collect::<io::Result<_>>()?;
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "mode", "0755")?;
    fsconfig_create(&context)?;
    let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(&root, "", CWD, scratch, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    for (place, copy) in copies {
        let inside = format!("/proc/self/fd/{}{}", root.as_raw_fd(), place.display());
        fs_err::create_dir_all(&inside)?;
        let target = rustix::fs::open(inside, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&copy, "", &target, "", flags)?;
    }
    fchdir(&root)?;
    // Both trees lie on the same place then; see the notes of pivot_root(2).
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(
        "/proc/thread-self/ns/mnt",
        flags,
        Mode::empty(),
    )?)
}

fn copy(place: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let copy = open_tree(CWD, place, flags);
    copy.map_err(|error| {
        io::Error::new(
            io::Error::from(error).kind(),
            format!("{}: {error}", place.display()),
        )
    })
}
