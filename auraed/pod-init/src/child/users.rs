//! A container in its pod's user namespace.
//!
//! Its root is built outside, with the host's privileges, in a mount namespace of the host's; only then the process goes
//! in and takes a copy of that mount namespace along. In the copy, which belongs to the user namespace, every mount is
//! locked: nothing that is hidden or read-only can be uncovered, whatever capabilities the container has in there. What
//! the process makes on the way belongs to the namespace's root, because that is who it is for file systems.

use std::os::fd::{AsFd, BorrowedFd, RawFd};

use rustix::thread::{
    CapabilitySets, ThreadNameSpaceType, UnshareFlags, capabilities, move_into_thread_name_spaces,
    set_capabilities,
};

use super::STATUS;
use super::user::Identity;
use crate::fault::{Blame, Fault, Result};
use crate::protocol::IdMappings;
use crate::sys;

/// Its number in the new process, until it is entered.
const NUMBER: RawFd = STATUS + 1;

/// A user namespace and its mappings.
#[derive(Clone, Copy)]
pub(crate) struct Users<'a> {
    pub(crate) namespace: BorrowedFd<'a>,
    pub(crate) mappings: &'a IdMappings,
}

impl Users<'_> {
    /// Who root is in there, as the host sees it.
    pub(crate) fn root(&self) -> Result<(u32, u32)> {
        let (uid, gid) = (self.mappings.host_uid(0), self.mappings.host_gid(0));
        uid.zip(gid)
            .ok_or_else(|| Fault::Node("the user namespace has no root".to_owned()))
    }

    /// Becomes the namespace's root for file systems alone: what this process makes from here on is that user's. It may do
    /// what it could before.
    pub(crate) fn own_what_is_made(&self) -> Result<()> {
        let (uid, gid) = self.root()?;
        let tried = "make files of the user namespace's root";
        sys::set_file_system_ids(uid, gid).blame_node(tried)?;
        // Being another user took some of them out of force.
        let all = capabilities(None).blame_node(tried)?;
        let effective = CapabilitySets {
            effective: all.permitted,
            ..all
        };
        set_capabilities(None, effective).blame_node(tried)
    }

    /// Keeps the namespace open at a low number. Returns the first number above.
    pub(super) fn keep(&self) -> Result<u32> {
        sys::duplicate_to(self.namespace, NUMBER, true).blame_node("keep the user namespace")?;
        Ok(NUMBER as u32 + 1)
    }

    /// Refuses somebody who is not in the namespace. Returns the host's id of the user.
    pub(super) fn find(&self, identity: &Identity) -> Result<u32> {
        let refuse = |kind: &str, id: u32| {
            Fault::Container(format!(
                "{kind} {id} is not in the range of ids of the pod's user namespace"
            ))
        };
        for gid in identity.groups.iter().chain([&identity.gid]) {
            if self.mappings.host_gid(*gid).is_none() {
                return Err(refuse("group", *gid));
            }
        }
        let uid = self.mappings.host_uid(identity.uid);
        uid.ok_or_else(|| refuse("user", identity.uid))
    }

    /// Goes in, with all capabilities there and none outside, after [`keep`](Self::keep).
    pub(super) fn enter() -> Result<()> {
        move_into_thread_name_spaces(sys::kept(NUMBER).as_fd(), ThreadNameSpaceType::USER)
            .blame_node("enter the user namespace")
    }

    /// Makes copies of the mount and cgroup namespaces that belong to the user namespace that this process is in. What is
    /// open leads to the old mounts.
    pub(super) fn take_along() -> Result<()> {
        sys::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWCGROUP)
            .blame_node("make the user namespace's own mounts")
    }
}
