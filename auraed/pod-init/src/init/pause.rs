//! The first process of a PID namespace that a pod's containers share.
//!
//! The pod init itself stays outside: its root is the host's, and a container with CAP_SYS_PTRACE could reach that through
//! /proc/1/root. The pause process has an empty root, no privileges and nothing to do: the kernel reaps its orphans.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, chdir, fchdir, pidfd_open, pivot_root, setsid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities};

use super::users;
use crate::child::mount;
use crate::fault::{Blame, Fault, Result};
use crate::sys::{self, namespaces};

/// `nobody`, by the kernel's own convention for ids that mean nothing.
const NOBODY: u32 = 65534;

/// A running pause process.
pub(super) struct Pause {
    pid: Pid,
    handle: OwnedFd,
}

impl Pause {
    /// Forks it and waits until its root and privileges are gone. With `users` its PID namespace belongs to that user
    /// namespace.
    pub(super) fn start(users: Option<&OwnedFd>) -> Result<Self> {
        let (wait, ready) = pipe_with(PipeFlags::CLOEXEC).blame_node("make a pipe")?;
        let own = if users.is_some() { 0 } else { namespaces::PID };
        match sys::fork(own | namespaces::MOUNT, None).blame_node("fork the pause process")? {
            None => {
                let Err(fault) = pause(&ready, users);
                let (Fault::Container(text) | Fault::Node(text)) = fault;
                let _ = rustix::io::write(&ready, text.as_bytes());
                sys::exit(1)
            }
            Some(pid) => {
                drop(ready);
                let mut text = [0; 256];
                let count = rustix::io::read(&wait, &mut text).blame_node("wait for the pause process")?;
                let text = String::from_utf8_lossy(&text[..count]);
                let pid = match text.as_ref() {
                    "\n" => Some(pid),
                    text => text.trim_end().parse().ok().and_then(Pid::from_raw),
                };
                let pid = pid.ok_or_else(|| Fault::Node(format!("pause process: {text}")))?;
                let handle = pidfd_open(pid, PidfdFlags::empty()).blame_node("find the pause process")?;
                Ok(Self { pid, handle })
            }
        }
    }

    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    pub(super) fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }
}

fn pause(ready: &OwnedFd, users: Option<&OwnedFd>) -> Result<Infallible> {
    rustix::thread::set_name(c"pause").blame_node("name the process")?;
    let root = mount::make("tmpfs", &[], mount::LOCKED | MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    let place = open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).blame_node("open /proc")?;
    mount::attach(root.as_fd(), place.as_fd()).blame_node("attach an empty root")?;
    fchdir(&root).blame_node("enter the empty root")?;
    pivot_root(".", ".").blame_node("pivot into the empty root")?;
    unmount(".", UnmountFlags::DETACH).blame_node("leave the host's tree")?;
    chdir("/").blame_node("enter the empty root")?;
    if let Some(users) = users {
        users::become_root(users)?;
        sys::unshare(UnshareFlags::NEWPID).blame_node("make a PID namespace")?;
    }
    drop_privileges(users.is_some()).blame_node("drop privileges")?;
    sys::leave_children_to_the_kernel();
    let mut report = "\n".to_owned();
    if users.is_some() {
        match sys::fork(namespaces::SIBLING, None).blame_node("fork")? {
            Some(pid) => report = format!("{}\n", pid.as_raw_nonzero()),
            None => return rest(),
        }
    }
    rustix::io::write(ready, report.as_bytes()).blame_node("report")?;
    if users.is_some() {
        sys::exit(0);
    }
    rest()
}

fn rest() -> Result<Infallible> {
    sys::die_with_parent().blame_node("follow the pod init")?;
    setsid().blame_node("make a session")?;
    sys::close_from(0).blame_node("close descriptors")?;
    loop {
        sys::wait_for_signal();
    }
}

/// In a user namespace it stays that one's root, who need not be somebody else there: without capabilities.
fn drop_privileges(in_user_namespace: bool) -> std::io::Result<()> {
    let id = if in_user_namespace { 0 } else { NOBODY };
    let (uid, gid) = (
        rustix::process::Uid::from_raw(id),
        rustix::process::Gid::from_raw(id),
    );
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(rustix::thread::set_no_new_privs(true)?)
}
