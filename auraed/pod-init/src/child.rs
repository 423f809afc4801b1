//! What happens in a container's new process before its program: the pod init forks it, and it builds its own world.
//!
//! ```text
//!  start:  cgroups ─► root, /dev, /sys, mounts ─► pivot ─┬────────────────► /proc, masks ─► user, filter ─► execve
//!                                                        └─ fork into ──►
//!                                                           the pod's PIDs (only where containers share them)
//!  exec:   cgroups ─► container's namespaces ─► fork into its PIDs ─► user, filter ─► execve
//! ```
//!
//! A pod's user namespace is entered late, just before the user: see `users`.
//!
//! A process appears in a PID namespace that others are in only when its root is the container's and its descriptors are
//! its standard streams and the status socket: there is nothing of the host to reach through it. What goes wrong is told
//! on the status socket (descriptor 3), which execve closes.

pub(crate) mod device;
mod enter;
mod late;
mod layers;
pub(crate) mod mount;
pub(crate) mod overlay;
pub(crate) mod path;
mod privileges;
mod program;
pub(crate) mod rootfs;
mod start;
pub(crate) mod stdio;
mod tree;
mod user;
pub(crate) mod users;
mod volume;

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

pub(crate) use self::enter::{Entry, enter};
use self::privileges::Privileges;
use self::program::Program;
pub(crate) use self::start::{Passed, Start, start};
pub(crate) use self::users::Users;
use crate::fault::{Blame, Fault, Result};
use crate::protocol::{Process, ResolvedUser, User};
use crate::sys::{self, Instruction};
use crate::wire;

/// The status socket's number in the new process.
const STATUS: RawFd = 3;

/// What a new process tells the pod init. The end of the stream after `Executing` means that the program was executed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Progress {
    /// The container's process is another one than was forked: this one.
    Process(i32),
    /// The terminal's controlling end comes with this.
    Terminal,
    /// Something was not done, and the container runs without it.
    Warning(String),
    /// Next comes the program, as this user.
    Executing(ResolvedUser),
    /// It ends here.
    Fault(Fault),
}

/// The standard streams that a new process begins with.
pub(crate) struct Streams<'a> {
    pub(crate) standard: [BorrowedFd<'a>; 3],
    /// Where [`Progress`] goes.
    pub(crate) status: BorrowedFd<'a>,
}

impl Streams<'_> {
    /// Puts the streams to 0, 1, 2 and the status socket to 3. The pod init has nothing of value at these numbers.
    fn take(&self) -> Result<()> {
        for (number, stream) in (0..).zip(self.standard) {
            sys::duplicate_to(stream, number, false).blame_node("set the streams")?;
        }
        sys::duplicate_to(self.status, STATUS, true).blame_node("set the streams")
    }
}

fn report(progress: &Progress, descriptors: Vec<OwnedFd>) -> Result<()> {
    let mut sender = wire::Sender::default();
    sender.push(progress, descriptors).blame_node("report")?;
    // The pod init reads as long as it lives.
    while !sender.flush(sys::kept(STATUS)).blame_node("report")? {
        let status = sys::kept(STATUS);
        let mut room = [PollFd::new(&status, PollFlags::OUT)];
        match poll(&mut room, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).blame_node("report"),
        }
    }
    Ok(())
}

/// Tells why the process ends, and ends it.
fn end(result: Result<Infallible>) -> ! {
    let Err(fault) = result;
    // Nobody can be told that nobody can be told.
    let _ = report(&Progress::Fault(fault), Vec::new());
    sys::exit(1)
}

/// Goes on in a new process in the PID namespace that was set for children. Its parent is the pod init, which learns its
/// id before it goes on; this process ends. Descriptors from `above` on are closed.
fn continue_in_new_process(above: u32) -> Result<()> {
    sys::close_from(above).blame_node("close descriptors")?;
    let (wait, go) = rustix::pipe::pipe().blame_node("fork")?;
    match sys::fork(sys::namespaces::SIBLING, None).blame_node("fork")? {
        Some(pid) => {
            report(&Progress::Process(pid.as_raw_nonzero().get()), Vec::new())?;
            // The end of the status socket is the new process's to give, however long this one takes to end.
            sys::duplicate_to(go.as_fd(), STATUS, true).blame_node("fork")?;
            rustix::io::write(&go, b"!").blame_node("fork")?;
            sys::exit(0)
        }
        None => {
            drop(go);
            match rustix::io::read(&wait, &mut [0]) {
                Ok(1) => Ok(()),
                _ => Err(Fault::Node("the starting process ended early".to_owned())),
            }
        }
    }
}

/// The last steps of every process: what it runs, where, as whom.
struct Last<'a> {
    arguments: &'a [String],
    environment: &'a [&'a [String]],
    user: &'a User,
    cwd: &'a str,
    terminal: bool,
    /// The namespace to enter, kept open.
    users: Option<Users<'a>>,
    /// The mount namespace is outside of it, and a copy goes along.
    take_along: bool,
    /// The container's: capabilities and no_new_privs.
    process: &'a Process,
    filter: &'a [Instruction],
}

/// What programs of the node get as well (systemd.exec(5), LimitNOFILE=): the daemon has raised its own soft limit, but some
/// programs close every descriptor up to theirs, or use select(2). The hard one stays, so that they may raise it.
fn lower_descriptor_limit() -> rustix::io::Result<()> {
    const SOFT: u64 = 1024;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(limit.maximum.unwrap_or(SOFT).min(SOFT));
    setrlimit(Resource::Nofile, limit)
}

/// Becomes the program. The root is the container's already; only 0 to 3, `root`, `cwd` and the user namespace are open.
fn become_program(mut root: OwnedFd, last: &Last<'_>) -> Result<Infallible> {
    let identity = user::resolve(root.as_fd(), last.user)?;
    let program = Program::new(last.arguments, last.environment, &identity, last.terminal)?;
    let host_uid = match &last.users {
        Some(users) => users.find(&identity)?,
        None => identity.uid,
    };
    stdio::give_to(host_uid)?;
    if last.users.is_some() {
        Users::enter()?;
        if last.take_along {
            Users::take_along()?;
            root = tree::root()?;
        }
    }
    privileges::change_profile(root.as_fd(), last.process)?;
    // Through a descriptor that no magic link led to: a working directory cannot be outside of the container.
    let cwd = path::open(root.as_fd(), last.cwd, OFlags::PATH | OFlags::DIRECTORY)
        .blame_container(format_args!("chdir to {:?}", last.cwd))?;
    drop(root);
    rustix::process::umask(Mode::from_raw_mode(0o022));
    lower_descriptor_limit().blame_node("limit open files")?;
    report(&Progress::Executing(identity.shown()), Vec::new())?;
    sys::reset_signals();
    let privileges = Privileges {
        identity: &identity,
        process: last.process,
        filter: last.filter,
    };
    privileges::become_user(&privileges)?;
    rustix::process::fchdir(cwd.as_fd()).blame_container(format_args!("chdir to {:?}", last.cwd))?;
    drop(cwd);
    privileges::confine(&privileges)?;
    Err(program.execute())
}
