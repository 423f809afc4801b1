//! Giving up what a container's process may not do. After [`drop_all`] nothing is left to do but to execute.

use std::io;

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::user::Identity;
use crate::fault::{Blame, Result};
use crate::sys::{self, Instruction};

/// As many as a capability set has bits.
const CAPABILITIES: u32 = 64;

/// What is left to a process.
pub(crate) struct Privileges<'a> {
    pub(crate) identity: &'a Identity,
    /// Bits as in capability.h.
    pub(crate) capabilities: u64,
    pub(crate) no_new_privileges: bool,
    /// Empty: no filter.
    pub(crate) filter: &'a [Instruction],
}

/// Becomes the container's user with the container's capabilities and filter.
pub(crate) fn drop_all(privileges: &Privileges<'_>) -> Result<()> {
    bound(privileges.capabilities).blame_node("limit the capabilities")?;
    // Without no_new_privs a filter needs CAP_SYS_ADMIN, so it comes before that goes; it must allow the calls below.
    if !privileges.no_new_privileges {
        filter(privileges.filter)?;
    }
    become_user(privileges.identity).blame_node("become the container's user")?;
    keep(privileges.capabilities).blame_node("set the capabilities")?;
    if privileges.no_new_privileges {
        set_no_new_privs(true).blame_node("set no_new_privs")?;
        filter(privileges.filter)?;
    }
    Ok(())
}

fn filter(program: &[Instruction]) -> Result<()> {
    if program.is_empty() {
        return Ok(());
    }
    sys::load_filter(program).blame_node("load the system call filter")
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

fn become_user(identity: &Identity) -> io::Result<()> {
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    // Only until the sets are written: execve ends it.
    set_keep_capabilities(true)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Permitted and effective are what was asked for, as far as there is that much; nothing is inheritable or ambient, so
/// that a user who is not root has none after execve.
fn keep(capabilities: u64) -> io::Result<()> {
    let present = rustix::thread::capabilities(None)?;
    let kept = CapabilitySet::from_bits_retain(capabilities) & present.permitted;
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    set_keep_capabilities(false)?;
    Ok(())
}
