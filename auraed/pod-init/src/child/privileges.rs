//! Giving up what a container's process may not do: first [`become_user`], then [`confine`], after which nothing is left to do
//! but to execute.
//!
//! A filter of system calls may refuse anything, also what the way to the program needs. So it is the last step, and the
//! calls after it are execve alone.

use std::io;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{OFlags, PROC_SUPER_MAGIC, fstatfs};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::path;
use super::user::Identity;
use crate::fault::{Blame, Fault, Result};
use crate::protocol::Process;
use crate::sys::{self, Instruction};

/// As many as a capability set has bits.
const CAPABILITIES: u32 = 64;
/// Where a process says by which profile its next program is confined, on kernels that know of several such systems, and on
/// older ones.
const APPARMOR: [&str; 2] = ["/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"];

/// What is left to a process.
pub(crate) struct Privileges<'a> {
    pub(crate) identity: &'a Identity,
    /// The container's: capabilities, no_new_privs, flags of the filter.
    pub(crate) process: &'a Process,
    /// Empty: no filter.
    pub(crate) filter: &'a [Instruction],
}

impl Privileges<'_> {
    /// Without no_new_privs it takes CAP_SYS_ADMIN to load a filter.
    fn filter_needs_privilege(&self) -> bool {
        !self.filter.is_empty() && !self.process.no_new_privileges
    }
}

/// Asks for the container's AppArmor profile at execve. Before the root is let go of.
pub(crate) fn change_profile(root: BorrowedFd<'_>, process: &Process) -> Result<()> {
    let Some(profile) = &process.apparmor else {
        return Ok(());
    };
    let tried = || format!("change to the AppArmor profile {profile:?}");
    let file = open_profile_file(root).blame_node(tried())?;
    match rustix::io::write(&file, format!("exec {profile}").as_bytes()) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => Err(Fault::Container(format!(
            "AppArmor profile {profile:?} is not loaded"
        ))),
        Err(error) => Err(error).blame_container(tried()),
    }
}

/// Only the kernel's own file: the image may have put anything where /proc should be, or the caller a mount.
fn open_profile_file(root: BorrowedFd<'_>) -> std::result::Result<OwnedFd, Errno> {
    let mut opened = Err(Errno::NOENT);
    for file in APPARMOR {
        opened = path::open(root, file, OFlags::WRONLY);
        if !matches!(opened, Err(Errno::NOENT)) {
            break;
        }
    }
    let file = opened?;
    if fstatfs(&file)?.f_type == PROC_SUPER_MAGIC {
        Ok(file)
    } else {
        Err(Errno::NOTSUP)
    }
}

/// Becomes the container's user with the container's capabilities.
pub(crate) fn become_user(privileges: &Privileges<'_>) -> Result<()> {
    let Process {
        capabilities,
        ambient,
        ..
    } = *privileges.process;
    bound(capabilities).blame_node("limit the capabilities")?;
    take_ids(privileges.identity)?;
    let kept = CapabilitySet::from_bits_retain(capabilities);
    // Execve takes it away again: it is not in the bounding set, unless it is the container's.
    let now = if privileges.filter_needs_privilege() {
        kept | CapabilitySet::SYS_ADMIN
    } else {
        kept
    };
    keep(now, CapabilitySet::from_bits_retain(ambient)).blame_node("set the capabilities")
}

/// Sets no_new_privs and the filter.
pub(crate) fn confine(privileges: &Privileges<'_>) -> Result<()> {
    if privileges.process.no_new_privileges {
        set_no_new_privs(true).blame_node("set no_new_privs")?;
    }
    if privileges.filter.is_empty() {
        return Ok(());
    }
    sys::load_filter(privileges.filter, privileges.process.seccomp_flags)
        .blame_node("load the system call filter")
}

/// Takes everything else out of the bounding set, which no execve can pass.
fn bound(capabilities: u64) -> io::Result<()> {
    for number in (0..CAPABILITIES).filter(|number| capabilities & 1 << number == 0) {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn take_ids(identity: &Identity) -> Result<()> {
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let tried = "become the container's user";
    set_thread_groups(&groups).blame_node(tried)?;
    set_thread_res_gid(gid, gid, gid).blame_node(tried)?;
    // Only until the sets are written: execve ends it.
    set_keep_capabilities(true).blame_node(tried)?;
    set_thread_res_uid(uid, uid, uid).blame_node(tried)
}

/// Permitted and effective are what was asked for, as far as there is that much. A user who is not root keeps of it what is
/// ambient after execve, which has to be inheritable as well; root keeps what the bounding set leaves.
fn keep(capabilities: CapabilitySet, ambient: CapabilitySet) -> io::Result<()> {
    let present = rustix::thread::capabilities(None)?;
    let kept = capabilities & present.permitted;
    let ambient = ambient & kept;
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: ambient,
        },
    )?;
    for capability in ambient.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    set_keep_capabilities(false)?;
    Ok(())
}
