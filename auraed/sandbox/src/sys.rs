//! Starting a pod init: the one fork that the daemon makes, and all `unsafe` of this crate outside of [`crate::cgroup`] and
//! [`crate::network`].
//!
//! The daemon has many threads, any of which may hold a lock while one forks. So everything is prepared before, and the new
//! process makes system calls only: it allocates nothing, locks nothing and ends in execve or _exit.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `CLONE_INTO_CGROUP` of include/uapi/linux/sched.h; it does not fit libc's type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Above the numbers that the new process gives to what it keeps.
const HIGH: RawFd = 16;

/// New namespaces of a pod init.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Namespaces {
    pub(crate) pid: bool,
    pub(crate) ipc: bool,
    pub(crate) uts: bool,
}

/// A process to start. All descriptors are the new process's from 0 on: stdin and stdout, stderr, connection, listener.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) program: BorrowedFd<'a>,
    pub(crate) arguments: &'a [CString],
    pub(crate) namespaces: Namespaces,
    /// The mount namespace that it has a copy of.
    pub(crate) mounts: BorrowedFd<'a>,
    /// To join.
    pub(crate) network: Option<BorrowedFd<'a>>,
    /// The v2 cgroup's directory.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// Open `tasks` files of v1.
    pub(crate) hierarchies: &'a [OwnedFd],
    pub(crate) null: BorrowedFd<'a>,
    pub(crate) log: BorrowedFd<'a>,
    pub(crate) connection: BorrowedFd<'a>,
    pub(crate) listener: BorrowedFd<'a>,
}

/// What the new process does, for its report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    Cgroup = 1,
    Mounts,
    Network,
    Session,
    Descriptors,
    Program,
}

/// Everything that the new process touches: numbers and pointers, prepared before the fork.
struct Prepared {
    hierarchies: Vec<RawFd>,
    mounts: RawFd,
    network: RawFd,
    /// What becomes 0, 1, 2, 3, 4.
    kept: [OwnedFd; 4],
    program: OwnedFd,
    report: OwnedFd,
    arguments: Vec<*const libc::c_char>,
}

/// Starts the process and waits until its program was executed. Returns its id and a pidfd.
pub(crate) fn launch(launch: &Launch<'_>) -> io::Result<(Pid, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let high = |descriptor: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(descriptor, HIGH);
    let prepared = Prepared {
        hierarchies: launch.hierarchies.iter().map(AsRawFd::as_raw_fd).collect(),
        mounts: launch.mounts.as_raw_fd(),
        network: launch.network.map_or(-1, |network| network.as_raw_fd()),
        kept: [
            high(launch.null)?,
            high(launch.log)?,
            high(launch.connection)?,
            high(launch.listener)?,
        ],
        program: high(launch.program)?,
        report: high(write.as_fd())?,
        arguments: launch
            .arguments
            .iter()
            .map(|argument| argument.as_ptr())
            .chain([ptr::null()])
            .collect(),
    };
    drop(write);
    let forked = with_signals_blocked(|| fork(launch, &prepared))?;
    drop(prepared);
    let mut report = [0; 5];
    match rustix::io::retry_on_intr(|| rustix::io::read(&read, &mut report))? {
        0 => Ok(forked),
        _ => {
            reap(&forked.1);
            let [step, number @ ..] = report;
            let error = io::Error::from_raw_os_error(i32::from_ne_bytes(number));
            Err(io::Error::new(
                error.kind(),
                format!("{}: {error}", describe(step)),
            ))
        }
    }
}

fn describe(step: u8) -> &'static str {
    match step {
        step if step == Step::Cgroup as u8 => "join the cgroup",
        step if step == Step::Mounts as u8 => "make a mount namespace",
        step if step == Step::Network as u8 => "join the network namespace",
        step if step == Step::Session as u8 => "make a session",
        step if step == Step::Descriptors as u8 => "set the descriptors",
        _ => "execute the program",
    }
}

fn fork(launch: &Launch<'_>, prepared: &Prepared) -> io::Result<(Pid, OwnedFd)> {
    let mut handle: libc::c_int = -1;
    // SAFETY: all of clone_args is plain numbers, for which zero means "none".
    let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
    // VFORK: this thread goes on when the program was executed, so that it copies no page that it writes meanwhile.
    let mut flags = libc::CLONE_PIDFD | libc::CLONE_VFORK;
    let Namespaces { pid, ipc, uts } = launch.namespaces;
    for (wanted, flag) in [
        (pid, libc::CLONE_NEWPID),
        (ipc, libc::CLONE_NEWIPC),
        (uts, libc::CLONE_NEWUTS),
    ] {
        flags |= if wanted { flag } else { 0 };
    }
    arguments.flags = flags as u64;
    arguments.pidfd = (&raw mut handle) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = launch.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is fork(2), and `become_init` keeps to what a copy of a process with threads may do.
    match unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: this is the new process, and `prepared` is whole.
        0 => unsafe { become_init(prepared) },
        pid => {
            // SAFETY: the kernel has put a new descriptor there.
            let handle = unsafe { OwnedFd::from_raw_fd(handle) };
            let pid =
                Pid::from_raw(pid as i32).ok_or_else(|| io::Error::other("clone3 returned no process"))?;
            Ok((pid, handle))
        }
    }
}

/// The new process. System calls only.
///
/// # Safety
/// Only in a process just forked, with `prepared` made by [`launch`].
unsafe fn become_init(prepared: &Prepared) -> ! {
    // SAFETY: each call gets numbers, or pointers into `prepared`, which this copy of the process has for itself; libc's
    // functions here are the bare system calls and may be called after a fork (signal-safety(7)).
    unsafe {
        let step = try_become_init(prepared);
        let mut report = [step as u8, 0, 0, 0, 0];
        report[1..].copy_from_slice(&(*libc::__errno_location()).to_ne_bytes());
        libc::write(prepared.report.as_raw_fd(), report.as_ptr().cast(), report.len());
        libc::_exit(1)
    }
}

/// Returns the step that failed; errno says why.
///
/// # Safety
/// As [`become_init`].
unsafe fn try_become_init(prepared: &Prepared) -> Step {
    // SAFETY: as `become_init` says.
    unsafe {
        for hierarchy in &prepared.hierarchies {
            if libc::write(*hierarchy, c"0".as_ptr().cast(), 1) < 0 {
                return Step::Cgroup;
            }
        }
        if libc::setns(prepared.mounts, libc::CLONE_NEWNS) < 0 || libc::unshare(libc::CLONE_NEWNS) < 0 {
            return Step::Mounts;
        }
        if prepared.network >= 0 && libc::setns(prepared.network, libc::CLONE_NEWNET) < 0 {
            return Step::Network;
        }
        if libc::setsid() < 0 {
            return Step::Session;
        }
        let [null, log, connection, listener] = &prepared.kept;
        for (number, descriptor) in [null, null, log, connection, listener].into_iter().enumerate() {
            if libc::dup2(descriptor.as_raw_fd(), number as RawFd) < 0 {
                return Step::Descriptors;
            }
        }
        if libc::syscall(
            libc::SYS_close_range,
            5,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_uint,
        ) < 0
        {
            return Step::Descriptors;
        }
        reset_signals();
        let environment: [*const libc::c_char; 1] = [ptr::null()];
        libc::syscall(
            libc::SYS_execveat,
            prepared.program.as_raw_fd(),
            c"".as_ptr(),
            prepared.arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
        Step::Program
    }
}

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

/// Default actions, nothing blocked.
///
/// # Safety
/// As [`become_init`].
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

/// Readiness of a process's pidfd (of a copy of it): it becomes readable when the process has ended.
pub(crate) fn watch(descriptor: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let descriptor = descriptor.try_clone_to_owned()?;
    // SAFETY: an OwnedFd is open, is closed by nothing but its drop, which AsyncFd's own precedes, and always gives the
    // same descriptor.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
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
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: what makes unshare unsafe is CLONE_FILES, which parts the thread from its descriptors. CLONE_NEWNS touches no
    // memory and no descriptor table; the thread gets a root and working directory of its own.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(io::Error::from)
}

/// Gives the calling thread, and only it, a root, a working directory and an umask of its own; the last takes no bits.
pub(crate) fn take_no_bits() -> io::Result<()> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: as in `unshare_mounts`; CLONE_FS touches no memory and no descriptor table either.
    unsafe { unshare_unsafe(UnshareFlags::FS) }?;
    rustix::process::umask(rustix::fs::Mode::empty());
    Ok(())
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
