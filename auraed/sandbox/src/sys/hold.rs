//! Processes that do nothing but to be in a namespace, for whoever is to join it.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;

use super::{reap, with_signals_blocked};

/// What a held process does.
#[derive(Debug)]
pub(crate) enum Held<'a> {
    /// It is in a new user namespace, without mappings yet.
    NewUsers,
    /// It is in a new network namespace that belongs to this user namespace.
    NetworkOf(BorrowedFd<'a>),
}

/// A process that does nothing but to be in its namespaces, until this is dropped or the daemon ends.
#[derive(Debug)]
pub(crate) struct Holder {
    pid: Pid,
    handle: OwnedFd,
    /// Its end is the process's end.
    _socket: OwnedFd,
}

impl Holder {
    /// Its process id; while this lives it is no other process's.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }
}

impl AsFd for Holder {
    /// Its pidfd.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.handle, rustix::process::Signal::KILL);
        reap(&self.handle);
    }
}

/// Forks a process that holds namespaces; returns when it is in them.
pub(crate) fn hold(held: &Held<'_>) -> io::Result<Holder> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let (near, far) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let (flags, users) = match held {
        Held::NewUsers => (libc::CLONE_NEWUSER, -1),
        Held::NetworkOf(users) => (0, users.as_raw_fd()),
    };
    let mut handle: libc::c_int = -1;
    // SAFETY: all of clone_args is plain numbers, for which zero means "none".
    let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
    arguments.flags = (flags | libc::CLONE_PIDFD) as u64;
    arguments.pidfd = (&raw mut handle) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    let size = size_of::<libc::clone_args>();
    // SAFETY: without CLONE_VM this is fork(2), and `wait_held` keeps to what a copy of a process with threads may do.
    let forked =
        with_signals_blocked(
            || match unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size) } {
                // SAFETY: this is the new process.
                0 => unsafe { wait_held(near.as_raw_fd(), far.as_raw_fd(), users) },
                pid => pid,
            },
        );
    if forked < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has put a new descriptor there.
    let handle = unsafe { OwnedFd::from_raw_fd(handle) };
    let pid = Pid::from_raw(forked as i32).ok_or_else(|| io::Error::other("clone3 returned no process"))?;
    drop(far);
    let mut report = [0; 4];
    let read = rustix::io::retry_on_intr(|| rustix::io::read(&near, &mut report))?;
    let holder = Holder {
        pid,
        handle,
        _socket: near,
    };
    match (read, i32::from_ne_bytes(report)) {
        (4, 0) => Ok(holder),
        (4, number) => Err(io::Error::from_raw_os_error(number)),
        _ => Err(io::Error::other("a process that was to hold a namespace ended")),
    }
}

/// The held process. System calls only.
///
/// # Safety
/// Only in a process just forked, with open descriptors (`users` may be -1).
unsafe fn wait_held(near: RawFd, far: RawFd, users: RawFd) -> ! {
    // SAFETY: each call gets numbers, or pointers to what lies on this copy's stack.
    unsafe {
        libc::close(near);
        let entered = users < 0
            || (libc::setns(users, libc::CLONE_NEWUSER) == 0 && libc::unshare(libc::CLONE_NEWNET) == 0);
        let report = if entered { 0 } else { *libc::__errno_location() };
        libc::write(far, (&raw const report).cast(), size_of_val(&report));
        let mut byte = 0_u8;
        while libc::read(far, (&raw mut byte).cast(), 1) < 0 && *libc::__errno_location() == libc::EINTR {}
        libc::_exit(0)
    }
}
