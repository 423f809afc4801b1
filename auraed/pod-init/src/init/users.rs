//! The pod's user namespace, seen from outside: the pod init makes the namespaces that belong to it and lets containers in,
//! and stays a process of the host.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Gid, Pid, PidfdFlags, Signal, Uid, WaitOptions, kill_process, pidfd_open, setsid, waitpid,
};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use super::Init;
use crate::child::Users;
use crate::fault::{Blame, Fault, Result};
use crate::file;
use crate::protocol::{IdMappings, UserSetup};
use crate::sys;

impl Init {
    /// What new processes of containers enter.
    pub(super) fn users(&self) -> Option<Users<'_>> {
        let setup = self.setup.as_ref()?.users.as_ref()?;
        Some(Users {
            namespace: self.users.as_ref()?.as_fd(),
            mappings: &setup.mappings,
        })
    }
}

/// Joins new IPC and UTS namespaces that belong to the user namespace: a process that is in it makes them.
pub(super) fn join_new_namespaces(users: &OwnedFd, setup: &UserSetup) -> Result<()> {
    let mut wanted = UnshareFlags::empty();
    let mut joined = ThreadNameSpaceType::empty();
    if setup.ipc {
        wanted |= UnshareFlags::NEWIPC;
        joined |= ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION;
    }
    if setup.uts {
        wanted |= UnshareFlags::NEWUTS;
        joined |= ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let maker = hold(|| {
        become_root(users)?;
        sys::unshare(wanted).blame_node("make namespaces of the user namespace")
    })?;
    let handle = pidfd_open(maker, PidfdFlags::empty()).blame_node("find the namespaces' maker")?;
    let moved = move_into_thread_name_spaces(handle.as_fd(), joined);
    let _ = kill_process(maker, Signal::KILL);
    let _ = waitpid(Some(maker), WaitOptions::empty());
    moved.blame_node("join namespaces of the user namespace")
}

/// Becomes the user namespace's root.
pub(super) fn become_root(users: &OwnedFd) -> Result<()> {
    let tried = "enter the user namespace";
    move_into_thread_name_spaces(users.as_fd(), ThreadNameSpaceType::USER).blame_node(tried)?;
    rustix::thread::set_thread_groups(&[]).blame_node(tried)?;
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).blame_node(tried)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).blame_node(tried)
}

/// Forks a process that does `act` and then waits to be killed. Returns when that is done.
fn hold(act: impl FnOnce() -> Result<()>) -> Result<Pid> {
    let (wait, done) = pipe_with(PipeFlags::CLOEXEC).blame_node("make a pipe")?;
    let Some(pid) = sys::fork(0, None).blame_node("fork")? else {
        let _ = sys::die_with_parent();
        let _ = setsid();
        let report = match act() {
            Ok(()) => Vec::new(),
            Err(Fault::Container(text) | Fault::Node(text)) => text.into_bytes(),
        };
        let _ = rustix::io::write(&done, &report);
        drop(done);
        loop {
            sys::wait_for_signal();
        }
    };
    drop(done);
    let mut text = [0; 256];
    match rustix::io::read(&wait, &mut text).blame_node("wait for a process")? {
        0 => Ok(pid),
        count => {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
            Err(Fault::Node(String::from_utf8_lossy(&text[..count]).into_owned()))
        }
    }
}

/// Sets a parameter of the pod's namespaces. Newer kernels let nobody do that but the root of the user namespace that they
/// belong to, whom this process becomes for it.
pub(super) fn set_parameter(
    name: &str,
    value: &str,
    users: Option<&IdMappings>,
) -> std::result::Result<(), Errno> {
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    let root = users.and_then(|mappings| mappings.host_uid(0));
    match (file::write(&path, value.as_bytes()), root) {
        (Err(Errno::ACCESS | Errno::PERM), Some(root)) => {
            let (host, root) = (Uid::ROOT, Uid::from_raw(root));
            rustix::thread::set_thread_res_uid(host, root, host)?;
            let written = file::write(&path, value.as_bytes());
            rustix::thread::set_thread_res_uid(host, host, host)?;
            written
        }
        (written, _) => written,
    }
}
