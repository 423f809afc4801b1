//! Starting a pod init: the one fork of the daemon that becomes a program.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

use super::{reap, reset_signals, with_signals_blocked};

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
