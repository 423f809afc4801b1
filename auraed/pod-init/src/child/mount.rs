//! Mounts through descriptors: made detached, then attached to a place that was looked up safely.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::fault::{Blame, Result};
use crate::sys;

/// What most of a container's own file systems are mounted with.
pub(crate) const LOCKED: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// An option of a file system.
pub(crate) enum Opt<'a> {
    Flag(&'a str),
    Value(&'a str, &'a str),
}

/// A new mount of a file system, attached nowhere yet.
pub(crate) fn make(kind: &str, options: &[Opt<'_>], attributes: MountAttrFlags) -> Result<OwnedFd> {
    let context =
        fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).blame_node(format_args!("open file system {kind}"))?;
    configure(context.as_fd(), options, attributes)
        .map_err(|error| explain(context.as_fd(), error))
        .blame_node(format_args!("mount {kind}"))
}

fn configure(
    context: BorrowedFd<'_>,
    options: &[Opt<'_>],
    attributes: MountAttrFlags,
) -> std::result::Result<OwnedFd, Errno> {
    for option in options {
        match option {
            Opt::Flag(key) => fsconfig_set_flag(context, *key)?,
            Opt::Value(key, value) => fsconfig_set_string(context, *key, *value)?,
        }
    }
    fsconfig_create(context)?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// The kernel's own words about an error, which it leaves in the context.
fn explain(context: BorrowedFd<'_>, error: Errno) -> String {
    let mut text = error.to_string();
    let mut line = [0; 256];
    while let Ok(count) = rustix::io::read(context, &mut line) {
        text.push_str("; ");
        text.push_str(String::from_utf8_lossy(&line[..count]).trim_end());
    }
    text
}

/// A detached copy of what is mounted at `path`, and with `recursive` of all below it.
pub(crate) fn copy(path: &std::path::Path, recursive: bool) -> std::result::Result<OwnedFd, Errno> {
    open_tree(CWD, path, copy_flags(recursive))
}

/// The same for something that is open.
pub(crate) fn copy_of(place: BorrowedFd<'_>, recursive: bool) -> std::result::Result<OwnedFd, Errno> {
    open_tree(place, "", copy_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)
}

fn copy_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags | OpenTreeFlags::AT_RECURSIVE
    } else {
        flags
    }
}

/// Attaches a detached mount on top of `place`.
pub(crate) fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags)
}

/// Makes a mount and all below it read-only.
pub(crate) fn make_read_only(mount: BorrowedFd<'_>) -> std::io::Result<()> {
    sys::set_mount_attributes(mount, true, MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), 0)
}

/// Makes this mount alone read-only.
pub(crate) fn make_only_this_read_only(mount: BorrowedFd<'_>) -> std::io::Result<()> {
    sys::set_mount_attributes(mount, false, MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), 0)
}
