//! Standard streams of a container's process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat, fstatfs, openat};
use rustix::io::Errno;
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use super::path;
use crate::fault::{Blame, Fault, Result};
use crate::protocol::TerminalSize;
use crate::sys;

/// statfs(2)'s type of devpts (include/uapi/linux/magic.h).
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Both ends of a new terminal.
pub(crate) struct Terminal {
    pub(crate) controller: OwnedFd,
    pub(crate) user: OwnedFd,
}

/// Opens a terminal of the devpts whose root is given.
pub(crate) fn open_terminal(devpts: BorrowedFd<'_>, size: TerminalSize) -> Result<Terminal> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let controller = openat(devpts, "ptmx", flags, Mode::empty()).blame_node("open a terminal")?;
    prepare(controller, size).blame_node("open a terminal")
}

/// Opens a terminal in a running container. Its processes may have put anything at that path, so that what is opened is
/// looked at before it is used.
pub(crate) fn open_terminal_in(root: BorrowedFd<'_>, size: TerminalSize) -> Result<Terminal> {
    let place = path::open_without_links(root, "/dev/pts/ptmx", OFlags::PATH)
        .blame_container("open /dev/pts/ptmx")?;
    let stat = fstat(&place).blame_container("look at /dev/pts/ptmx")?;
    let system = fstatfs(&place).blame_container("look at /dev/pts/ptmx")?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !is_device || stat.st_rdev != rustix::fs::makedev(5, 2) || system.f_type as u64 != DEVPTS_MAGIC {
        return Err(Fault::Container(
            "/dev/pts/ptmx is not the terminal multiplexer".to_owned(),
        ));
    }
    let directory =
        path::open_without_links(root, "/dev/pts", OFlags::PATH).blame_container("open /dev/pts")?;
    open_terminal(directory.as_fd(), size)
}

fn prepare(controller: OwnedFd, size: TerminalSize) -> std::io::Result<Terminal> {
    unlockpt(&controller)?;
    let user = ioctl_tiocgptpeer(
        &controller,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    sys::set_terminal_size(controller.as_fd(), size.columns, size.rows)?;
    Ok(Terminal { controller, user })
}

/// Makes a terminal all three streams.
pub(crate) fn use_terminal(user: BorrowedFd<'_>) -> Result<()> {
    (0..3)
        .try_for_each(|number| sys::duplicate_to(user, number, false))
        .blame_node("use the terminal")
}

/// Makes the terminal on the streams the controlling one. This process must lead its session.
pub(crate) fn control_terminal() -> Result<()> {
    ioctl_tiocsctty(sys::kept(0)).blame_node("take the terminal")
}

/// Gives pipes and terminals among the streams to the user, so that programs can open /dev/stdout anew. The null device
/// is everybody's and stays as it is.
pub(crate) fn give_to(uid: u32) -> Result<()> {
    for number in 0..3 {
        let stream = sys::kept(number);
        let stat = fstat(stream).blame_node("look at the streams")?;
        if stat.st_rdev == rustix::fs::makedev(1, 3) || stat.st_uid == uid {
            continue;
        }
        match fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>) {
            // A stream of somebody else's kind (a socket of the daemon) need not be ours to give.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => {}
            Err(error) => return Err(error).blame_node("give the streams to the user"),
        }
    }
    Ok(())
}
