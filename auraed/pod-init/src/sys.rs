//! The kernel calls that have no safe wrapper: all `unsafe` of this crate.
//!
//! This program has one thread for its whole life; several of the calls below are sound because of that alone. Tests of
//! this crate run threads beside each other and therefore use nothing of this module that says so.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

/// New namespaces for [`fork`], as in clone(2).
pub(crate) mod namespaces {
    /// A mount namespace.
    pub(crate) const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    /// A PID namespace.
    pub(crate) const PID: u64 = libc::CLONE_NEWPID as u64;
    /// Not a namespace: the new process's parent is the caller's.
    pub(crate) const SIBLING: u64 = libc::CLONE_PARENT as u64;
}

/// `CLONE_INTO_CGROUP` of include/uapi/linux/sched.h; it does not fit libc's type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Takes descriptors that this process was started with. Each may be taken once.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only looks at the number.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and by this function's contract nobody else owns it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
    Ok(descriptor)
}

/// Forks with `flags` of [`namespaces`], straight into a v2 cgroup if one is given. `None` in the new process.
pub(crate) fn fork(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Pid>> {
    // SAFETY: all of clone_args is plain numbers, for which zero means "none".
    let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
    arguments.flags = flags;
    // The kernel refuses an exit signal beside CLONE_PARENT: the parent's is used.
    if flags & namespaces::SIBLING == 0 {
        arguments.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is fork(2): the new process has its own copy of everything. No lock can be held by
    // another thread, because there is none, so that the copy may run any code.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}

/// Ends this process at once: no destructors, no buffers.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Leaves the namespaces of `flags` for new ones.
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: the danger is a descriptor table unshared from other threads (CLONE_FILES); there is one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Changes attributes of a mount, and with `recursive` of all mounts below it. `attributes` are MOUNT_ATTR_* to set,
/// `propagation` is MS_SHARED, MS_SLAVE, MS_PRIVATE or 0.
pub(crate) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    recursive: bool,
    attributes: u64,
    propagation: u64,
) -> io::Result<()> {
    let request = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    change_mount(mount, recursive, &request)
}

/// Shows ids of a mount as `users` maps them. The mount must be attached nowhere, and its file system must know how.
pub(crate) fn map_mount(mount: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    let request = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.as_raw_fd() as u64,
    };
    change_mount(mount, false, &request)
}

fn change_mount(mount: BorrowedFd<'_>, recursive: bool, request: &libc::mount_attr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and `request` is as long as is said; the kernel only reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(request),
            size_of_val(request),
        )
    };
    check(result)
}

/// Makes this process another user for file systems alone: for what it makes and what it may open.
pub(crate) fn set_file_system_ids(uid: u32, gid: u32) -> io::Result<()> {
    // They return what was before, and only what then is tells whether it was done; an invalid id changes nothing.
    let changed = |set: unsafe extern "C" fn(u32) -> libc::c_int, id: u32| {
        // SAFETY: plain numbers.
        unsafe {
            set(id);
            set(u32::MAX) as u32 == id
        }
    };
    if changed(libc::setfsgid, gid) && changed(libc::setfsuid, uid) {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// Gives up a low number for good: it becomes a copy of `with` that is never closed.
pub(crate) fn occupy(low: OwnedFd, with: &OwnedFd) -> io::Result<()> {
    duplicate_to(with.as_fd(), low.into_raw_fd(), true)
}

/// Makes `number` a copy of `descriptor`. Only for a process that will execute a program or exit: whoever owned `number` in
/// it is stale from here on.
pub(crate) fn duplicate_to(descriptor: BorrowedFd<'_>, number: RawFd, close_on_exec: bool) -> io::Result<()> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: by this function's contract nothing uses the old descriptor of that number any more.
    check(libc::c_long::from(unsafe {
        libc::dup3(descriptor.as_raw_fd(), number, flags)
    }))
}

/// Closes all descriptors from `first` on, whoever owns them. Only for a process that will execute a program or exit:
/// their owners in it are stale from here on, and must not use or drop them.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: by this function's contract nothing uses these descriptors any more.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) })
}

/// A descriptor that [`duplicate_to`] made.
pub(crate) fn kept(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: this process does not close what it kept; the kernel does at execve or exit.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Blocks `signals` and returns a non-blocking descriptor that tells of them.
pub(crate) fn signal_descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: sigemptyset initializes the set before anything reads it, and the signals are valid numbers.
    unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        let mut set = set.assume_init();
        for &signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        check(libc::c_long::from(libc::sigprocmask(
            libc::SIG_BLOCK,
            &set,
            ptr::null_mut(),
        )))?;
        let descriptor = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(libc::c_long::from(descriptor))?;
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// The next signal: its number and who sent it (0: a process outside of this PID namespace, or the kernel).
pub(crate) fn next_signal(descriptor: &OwnedFd) -> Option<(i32, u32)> {
    let mut bytes = [0; size_of::<libc::signalfd_siginfo>()];
    let count = rustix::io::read(descriptor, &mut bytes).ok()?;
    if count != bytes.len() {
        return None;
    }
    // SAFETY: the kernel wrote one whole signalfd_siginfo, which is plain numbers; the read is unaligned.
    let signal: libc::signalfd_siginfo = unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) };
    Some((signal.ssi_signo as i32, signal.ssi_pid))
}

/// Gives all signals their default action and unblocks them. They have it already (the daemon started this program so, and
/// execve(2) takes handlers away) but for the one that Rust's start-up ignores.
pub(crate) fn reset_signals() {
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: sigemptyset initializes the set before sigprocmask reads it.
    unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut());
    }
}

/// Ignores the end of children, which the kernel then reaps, and unblocks all signals.
pub(crate) fn leave_children_to_the_kernel() {
    reset_signals();
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Sleeps until a signal comes.
pub(crate) fn wait_for_signal() {
    // SAFETY: pause has no preconditions.
    unsafe { libc::pause() };
}

/// A signal by its number, 1 to 64.
pub(crate) fn signal(number: i32) -> Option<rustix::process::Signal> {
    // SAFETY: what is asked of the caller is not to use the signals that libc keeps for its threads; here they go to
    // other processes only.
    (1..=64)
        .contains(&number)
        .then(|| unsafe { rustix::process::Signal::from_raw_unchecked(number) })
}

/// Ends the calling process when its parent ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: a plain number.
    check(libc::c_long::from(unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    }))
}

/// One instruction of a BPF program (`struct sock_filter`), in memory order.
pub(crate) type Instruction = [u8; 8];

/// Puts a filter on the system calls of this process and all that it becomes. `flags` are SECCOMP_FILTER_FLAG_*, none that
/// makes a descriptor.
pub(crate) fn load_filter(program: &[Instruction], flags: u32) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // The kernel copies from `filter` without asking for alignment.
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `program` describes as many instructions as there are; the kernel checks and copies them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &program) })
}

/// Strings as execve(2) wants them.
pub(crate) struct Strings {
    /// Owns what the pointers lead to.
    _strings: Vec<CString>,
    /// Of the strings, and a null pointer.
    pointers: Vec<*const libc::c_char>,
}

impl Strings {
    /// Prepares them, so that [`execute`] needs no memory.
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self {
            _strings: strings,
            pointers,
        }
    }
}

/// Executes a program in place of this one; returns only why it could not.
pub(crate) fn execute(path: &CStr, arguments: &Strings, environment: &Strings) -> rustix::io::Errno {
    // SAFETY: both lists end with a null pointer, and what they point to is owned beside them.
    unsafe {
        libc::execve(
            path.as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
        )
    };
    rustix::io::Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(rustix::io::Errno::IO)
}

/// Who is at the other end of a Unix socket: process id as this PID namespace sees it (0: from outside of it), and user.
pub(crate) fn peer(socket: &OwnedFd) -> io::Result<(i32, u32)> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of_val(&credentials) as libc::socklen_t;
    // SAFETY: SO_PEERCRED writes one ucred, and `length` says that there is room for it.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &mut length,
        )
    };
    check(libc::c_long::from(result))?;
    Ok((credentials.pid, credentials.uid))
}

/// Sets the size of the terminal behind a descriptor, in characters.
pub(crate) fn set_terminal_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize.
    check(libc::c_long::from(unsafe {
        libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size)
    }))
}

/// Brings a network interface up.
pub(crate) fn bring_up(socket: impl AsFd, name: &CStr) -> io::Result<()> {
    // SAFETY: all of ifreq is plain numbers.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .take(libc::IFNAMSIZ - 1)
        .zip(name.to_bytes())
    {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: `request` is an ifreq with a name that ends in zero, as SIOCSIFFLAGS reads.
    check(libc::c_long::from(unsafe {
        libc::ioctl(socket, libc::SIOCSIFFLAGS, &request)
    }))
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
