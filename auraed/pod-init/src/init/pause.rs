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
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

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
    /// Forks it and waits until its root and privileges are gone.
    pub(super) fn start() -> Result<Self> {
        let (wait, ready) = pipe_with(PipeFlags::CLOEXEC).blame_node("make a pipe")?;
        match sys::fork(namespaces::PID | namespaces::MOUNT, None).blame_node("fork the pause process")? {
            None => {
                let Err(fault) = pause(&ready);
                let (Fault::Container(text) | Fault::Node(text)) = fault;
                let _ = rustix::io::write(&ready, text.as_bytes());
                sys::exit(1)
            }
            Some(pid) => {
                drop(ready);
                let handle = pidfd_open(pid, PidfdFlags::empty()).blame_node("find the pause process")?;
                let mut text = [0; 256];
                let count = rustix::io::read(&wait, &mut text).blame_node("wait for the pause process")?;
                match &text[..count] {
                    b"\n" => Ok(Self { pid, handle }),
                    text => Err(Fault::Node(format!(
                        "pause process: {}",
                        String::from_utf8_lossy(text)
                    ))),
                }
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

fn pause(ready: &OwnedFd) -> Result<Infallible> {
    sys::die_with_parent().blame_node("follow the pod init")?;
    rustix::thread::set_name(c"pause").blame_node("name the process")?;
    setsid().blame_node("make a session")?;
    let root = mount::make("tmpfs", &[], mount::LOCKED | MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    let place = open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).blame_node("open /proc")?;
    mount::attach(root.as_fd(), place.as_fd()).blame_node("attach an empty root")?;
    fchdir(&root).blame_node("enter the empty root")?;
    pivot_root(".", ".").blame_node("pivot into the empty root")?;
    unmount(".", UnmountFlags::DETACH).blame_node("leave the host's tree")?;
    chdir("/").blame_node("enter the empty root")?;
    drop_privileges().blame_node("drop privileges")?;
    sys::leave_children_to_the_kernel();
    rustix::io::write(ready, b"\n").blame_node("report")?;
    sys::close_from(0).blame_node("close descriptors")?;
    loop {
        sys::wait_for_signal();
    }
}

fn drop_privileges() -> std::io::Result<()> {
    let (uid, gid) = (
        rustix::process::Uid::from_raw(NOBODY),
        rustix::process::Gid::from_raw(NOBODY),
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
