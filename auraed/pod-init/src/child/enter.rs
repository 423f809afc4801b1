//! A process beside a container's own: exec.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::process::setsid;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::start::adjust_oom_score;
use super::{Last, Progress, Streams, Users, become_program, end, report, stdio, tree};
use crate::cgroup;
use crate::fault::{Blame, Result};
use crate::protocol::{CgroupDirectory, Exec, Process};
use crate::sys::{self, Instruction};

/// A program to become in a running container.
pub(crate) struct Entry<'a> {
    pub(crate) exec: &'a Exec,
    /// The container's.
    pub(crate) process: &'a Process,
    pub(crate) cgroups: &'a [CgroupDirectory],
    pub(crate) filter: &'a [Instruction],
    pub(crate) streams: Streams<'a>,
    /// The container's main process (a pidfd).
    pub(crate) container: BorrowedFd<'a>,
    /// The pod's user namespace.
    pub(crate) users: Option<Users<'a>>,
}

/// Becomes the program. This process was forked into the container's v2 cgroup.
pub(crate) fn enter(entry: &Entry<'_>) -> ! {
    end(try_enter(entry))
}

fn try_enter(entry: &Entry<'_>) -> Result<Infallible> {
    entry.streams.take()?;
    let above = entry
        .users
        .map_or(Ok(super::STATUS as u32 + 1), |users| users.keep())?;
    cgroup::join(entry.cgroups).blame_node("join the cgroup")?;
    // The pod init's own is the daemon's, which is the last to be killed.
    adjust_oom_score(entry.process.oom_score_adj)?;
    // Network, IPC and hostname are the pod's, and so the pod init's.
    let namespaces =
        ThreadNameSpaceType::MOUNT | ThreadNameSpaceType::CONTROL_GROUP | ThreadNameSpaceType::PROCESS_ID;
    move_into_thread_name_spaces(entry.container, namespaces).blame_node("enter the container")?;
    super::continue_in_new_process(above)?;
    sys::close_from(above).blame_node("close descriptors")?;
    if let Some(users) = entry.users {
        users.own_what_is_made()?;
    }
    finish(entry)
}

fn finish(entry: &Entry<'_>) -> Result<Infallible> {
    let (exec, process) = (entry.exec, entry.process);
    let root = tree::root()?;
    setsid().blame_node("make a session")?;
    if let Some(size) = exec.terminal {
        let terminal = stdio::open_terminal_in(root.as_fd(), size)?;
        stdio::use_terminal(terminal.user.as_fd())?;
        stdio::control_terminal()?;
        report(&Progress::Terminal, vec![terminal.controller])?;
    }
    let last = Last {
        arguments: &exec.args,
        environment: &[&process.env, &exec.env],
        user: exec.user.as_ref().unwrap_or(&process.user),
        cwd: exec.cwd.as_deref().unwrap_or(&process.cwd),
        terminal: exec.terminal.is_some(),
        users: entry.users,
        take_along: false,
        process,
        filter: entry.filter,
    };
    become_program(root, &last)
}
