//! The one system call of the pod network that has no safe wrapper.
#![allow(unsafe_code)]

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread, and only it, a new network namespace.
pub(super) fn unshare_network() -> io::Result<()> {
    // SAFETY: what makes unshare unsafe is CLONE_FILES, which parts the thread from its descriptors. CLONE_NEWNET
    // touches no memory and no descriptor table; open sockets stay in the namespace that they were made in.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}
