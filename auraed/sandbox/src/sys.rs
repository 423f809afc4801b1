//! The kernel calls that have no safe wrapper: all `unsafe` of this crate.
//!
//! * `launch`: the one fork that becomes a program, a pod init.
//! * `hold`: forks that hold a namespace open.
//! * `bpf`: programs for device nodes on cgroup v2.
//!
//! The daemon has many threads, any of which may hold a lock while one forks. So everything is prepared before, and the new
//! process makes system calls only: it allocates nothing, locks nothing and ends in execve or _exit.
#![allow(unsafe_code)]

mod bpf;
mod hold;
mod launch;

use std::ffi::CStr;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[cfg(test)]
pub(crate) use self::bpf::interpret;
pub(crate) use self::bpf::{Instruction, attach_device_program, load_device_program};
pub(crate) use self::hold::{Held, hold};
pub(crate) use self::launch::{Launch, Namespaces, launch};

/// Default actions, nothing blocked.
///
/// # Safety
/// Only in a process just forked.
unsafe fn reset_signals() {
    // SAFETY: SIG_DFL runs no code of ours; sigemptyset initializes the set before sigprocmask reads it.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut());
    }
}

/// The new process begins with this thread's mask: no handler of the daemon's may run in it.
fn with_signals_blocked<T>(act: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset initializes the set before it is read, pthread_sigmask initializes `before`.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result = act();
    // SAFETY: `before` was initialized above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}

/// Takes a dead child's exit status, so that it is no zombie. Not every pod init is this process's child.
pub(crate) fn reap(handle: &OwnedFd) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let _ = waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED);
}

/// Readiness of a descriptor in the current tokio runtime.
pub(crate) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, is closed by nothing but its drop, which AsyncFd's own precedes, and always gives the
    // same descriptor.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

/// A sealed copy of a program in memory: nothing can change it, not even who runs it as root.
pub(crate) fn seal(name: &CStr, program: &[u8]) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels from 6.3 on may want it said that this one is to be executed; older ones do not know the flag.
    let memory = memfd_create(name, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(name, flags))?;
    let mut rest = program;
    while !rest.is_empty() {
        let count = rustix::io::write(&memory, rest)?;
        rest = &rest[count..];
    }
    fcntl_add_seals(
        &memory,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(memory)
}

/// Shows ids of a mount as `users` maps them. The mount must be attached nowhere, and its file system must know how.
pub(crate) fn map_mount(mount: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    let request = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.as_raw_fd() as u64,
    };
    // SAFETY: the path is a C string and `request` is as long as is said; the kernel only reads it.
    match unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const request,
            size_of_val(&request),
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the kernel has mount_setattr(2).
pub(crate) fn can_change_mounts() -> bool {
    // SAFETY: the kernel reads nothing of an attribute of no bytes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            -1,
            c"".as_ptr(),
            0,
            ptr::null::<libc::mount_attr>(),
            0,
        )
    };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

/// Gives the calling thread, and only it, a copy of the mount namespace.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS)
}

/// Gives the calling thread, and only it, a new network namespace; open sockets stay in the one that they were made in.
pub(crate) fn unshare_network() -> io::Result<()> {
    unshare(UnshareFlags::NEWNET)
}

/// Gives the calling thread, and only it, a root, a working directory and an umask of its own; the last takes no bits.
pub(crate) fn take_no_bits() -> io::Result<()> {
    unshare(UnshareFlags::FS)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    Ok(())
}

/// With one of the flags above.
fn unshare(flag: UnshareFlags) -> io::Result<()> {
    // SAFETY: what makes unshare unsafe is CLONE_FILES, which parts the thread from its descriptors. No caller passes it, and
    // the others touch no memory and no descriptor table.
    unsafe { unshare_unsafe(flag) }.map_err(io::Error::from)
}

/// Sets the size of a terminal, in characters.
pub(crate) fn set_terminal_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Brings a network interface of the calling thread's network namespace up.
pub(crate) fn bring_up(name: &CStr) -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all of ifreq is plain numbers.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let room = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (to, from) in room.zip(name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` is an ifreq with a name that ends in zero, as SIOCSIFFLAGS reads.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
