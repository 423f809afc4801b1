//! A container's first process.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::Mode;
use rustix::process::{setsid, umask};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use super::late::Late;
use super::layers::Layers;
use super::path::{self, Missing};
use super::{
    Last, Progress, Streams, Users, become_program, device, end, mount, report, rootfs, stdio, tree, volume,
};
use crate::cgroup;
use crate::fault::{Blame, Result};
use crate::protocol::Container;
use crate::sys::{self, Instruction};

/// The host's, for containers that share its IPC.
const HOST_SHM: &str = "/dev/shm";

/// A container to become.
pub(crate) struct Start<'a> {
    pub(crate) container: &'a Container,
    pub(crate) filter: &'a [Instruction],
    pub(crate) streams: Streams<'a>,
    /// The pod's /dev/shm.
    pub(crate) shm: Option<&'a Path>,
    /// A process of the PID namespace that it joins.
    pub(crate) pids: Option<BorrowedFd<'a>>,
    /// The pod's user namespace.
    pub(crate) users: Option<Users<'a>>,
}

/// Detached mounts that came with the request.
pub(crate) struct Passed {
    /// The root, if it was made ahead.
    pub(crate) root: Option<OwnedFd>,
    /// For mounts of kind [`MountKind::Passed`](crate::protocol::MountKind::Passed), in their order.
    pub(crate) mounts: Vec<OwnedFd>,
}

/// Becomes the container. This process was forked into a mount namespace and v2 cgroup of its own, and into a PID
/// namespace unless it joins another's or the container has the host's.
pub(crate) fn start(start: &Start<'_>, passed: Passed) -> ! {
    end(try_start(start, passed))
}

fn try_start(start: &Start<'_>, passed: Passed) -> Result<Infallible> {
    let container = start.container;
    start.streams.take()?;
    cgroup::join(&container.cgroups).blame_node("join the cgroup")?;
    adjust_oom_score(container.process.oom_score_adj)?;
    umask(Mode::empty());
    match start.users {
        // The cgroup namespace is made later, inside.
        Some(users) => users.own_what_is_made()?,
        None => sys::unshare(UnshareFlags::NEWCGROUP).blame_node("make a cgroup namespace")?,
    }
    let mut late = build(start, passed)?;
    if let Some(pids) = start.pids {
        move_into_thread_name_spaces(pids, ThreadNameSpaceType::PROCESS_ID)
            .blame_node("share the PIDs of others")?;
    }
    let above = start
        .users
        .map_or(Ok(super::STATUS as u32 + 1), |users| users.keep())?;
    // From here on descriptors of the pod init are gone.
    let above = late.keep(above)?;
    if start.pids.is_some() {
        super::continue_in_new_process(above)?;
    }
    sys::close_from(above).blame_node("close descriptors")?;
    finish(start, &late)
}

/// All that needs the host's paths.
fn build(start: &Start<'_>, passed: Passed) -> Result<Late> {
    let container = start.container;
    let mut layers = Layers::new(start.users);
    let root = rootfs::assemble(&container.rootfs, &mut layers, passed.root)?;
    let shm = start.shm.unwrap_or(Path::new(HOST_SHM));
    let devpts = device::populate(root.as_fd(), shm, container.privileged, start.users)?;
    device::make(root.as_fd(), &container.devices)?;
    tree::mount_sys(root.as_fd(), &container.cgroups, container.privileged)?;
    let late = volume::mount_all(root.as_fd(), container, passed.mounts, &mut layers)?;
    if let Some(size) = container.process.terminal {
        let terminal = stdio::open_terminal(devpts.as_fd(), size)?;
        device::place_console(root.as_fd(), terminal.user.as_fd())?;
        stdio::use_terminal(terminal.user.as_fd())?;
        report(&Progress::Terminal, vec![terminal.controller])?;
    }
    rootfs::enter(root.as_fd())?;
    Ok(late)
}

/// All that needs the PID namespace, and the program.
fn finish(start: &Start<'_>, late: &Late) -> Result<Infallible> {
    let container = start.container;
    let process = &container.process;
    let opened = tree::root()?;
    let root = opened.as_fd();
    setsid().blame_node("make a session")?;
    if process.terminal.is_some() {
        stdio::control_terminal()?;
    }
    late.mount(root)?;
    if !container.privileged {
        tree::protect(root, &container.read_only_paths)?;
        tree::mask(root, &container.masked_paths)?;
    }
    path::ensure(root, &process.cwd, Missing::Directory)
        .blame_container(format_args!("make the working directory {:?}", process.cwd))?;
    if container.rootfs.read_only {
        mount::make_only_this_read_only(root).blame_node("make the root read-only")?;
    }
    let last = Last {
        arguments: &process.args,
        environment: &[&process.env],
        user: &process.user,
        cwd: &process.cwd,
        terminal: process.terminal.is_some(),
        users: start.users,
        take_along: true,
        process,
        filter: start.filter,
    };
    become_program(opened, &last)
}

/// Not every kernel lets a process lower it (CAP_SYS_RESOURCE); the container runs all the same.
pub(super) fn adjust_oom_score(score: i32) -> Result<()> {
    match crate::file::write(
        Path::new("/proc/self/oom_score_adj"),
        score.to_string().as_bytes(),
    ) {
        Ok(()) => Ok(()),
        Err(error) => report(
            &Progress::Warning(format!("oom_score_adj stays as it is: {error}")),
            Vec::new(),
        ),
    }
}
