//! What the kernel and the file systems of this machine can do for containers, found out by trying.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
};

use crate::sandbox::{IdMapping, UserNamespace};
use crate::sys;

/// Any ids do.
const RANGE: IdMapping = IdMapping {
    host_id: 100_000,
    container_id: 0,
    length: 65_536,
};

/// Makes an overlay below `directory` whose lower layer's ids are mapped, in a mount namespace that ends with it.
///
/// # Errors
/// The first step that the kernel or the file system refused.
pub(super) fn try_user_namespace(directory: &Path) -> io::Result<()> {
    // What a try that was cut off has left.
    let _ = fs_err::remove_dir_all(directory);
    for name in ["lower", "upper", "work"] {
        fs_err::create_dir_all(directory.join(name))?;
    }
    fs_err::write(directory.join("lower/file"), "")?;
    // A thread that has left the daemon's mount namespace must not be used for anything else, so it ends here.
    let tried = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("features".to_owned());
        let thread = thread.spawn_scoped(scope, || try_overlay(directory))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    });
    fs_err::remove_dir_all(directory)?;
    tried
}

fn try_overlay(directory: &Path) -> io::Result<()> {
    let users = UserNamespace::create(&[RANGE], &[RANGE])?;
    sys::unshare_mounts()?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let lower = directory.join("lower");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = open_tree(CWD, &lower, flags)?;
    sys::map_mount(copy.as_fd(), users.as_fd())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&copy, "", CWD, &lower, flags)?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let opened = ["lower", "upper", "work"].map(|name| open_directory(&directory.join(name)));
    let [lower, upper, work] = opened;
    for (option, opened) in [("lowerdir", lower?), ("upperdir", upper?), ("workdir", work?)] {
        // A value is shorter than a path may be.
        fsconfig_set_string(&context, option, format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
    }
    fsconfig_create(&context)?;
    let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let file = fs_err::metadata(format!("/proc/self/fd/{}/file", root.as_raw_fd()))?;
    if file.uid() == RANGE.host_id {
        Ok(())
    } else {
        Err(io::Error::other("the ids were not mapped"))
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
