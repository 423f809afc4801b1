//! Lets go of what the shim does not need. It is meant to be started as an ordinary user; started as root, it keeps
//! root's files and none of root's powers.

use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// Gives up every capability, and the ways to get one back. The calling thread's alone: call it before there are others.
///
/// # Errors
/// What the kernel said.
pub fn give_up() -> rustix::io::Result<()> {
    thread::set_no_new_privs(true)?;
    thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    thread::set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
}
