//! A container's root that is made ahead of its start, by the daemon.
//!
//! On a disk most of what a start takes is spent on making files: overlay's own, and places to mount on. None of that needs
//! the pod, so that it is done when a container is created. What comes of it is a mount that is attached nowhere: it ends
//! with its descriptor, and a start without it makes the same.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::child::overlay::Overlay;
use crate::child::path::{self, Missing};
use crate::child::rootfs;
use crate::fault::{Blame, Result};
use crate::log::Log;
use crate::protocol::{Failure, LogLimits, Rootfs};

/// Something that a container's start looks for in its root, and makes if it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Absolute; resolved inside the root.
    pub path: String,
    /// An empty file; else a directory.
    pub is_file: bool,
}

/// Makes a container's root for a pod without a user namespace, and `places` in it. Nothing of the container may run yet. Its
/// log is there from now on, empty; a path that is empty is none.
///
/// # Errors
/// The first step that failed. A start may tell the same of it in its own words.
pub fn make(rootfs: &Rootfs, log: &Path, places: &[Place]) -> std::result::Result<OwnedFd, Failure> {
    try_make(rootfs, log, places).map_err(Failure::from)
}

fn try_make(rootfs: &Rootfs, log: &Path, places: &[Place]) -> Result<OwnedFd> {
    Log::open(log, None, LogLimits::default()).blame_node(format_args!("open the log {}", log.display()))?;
    rootfs::make_directories(rootfs, None)?;
    let overlay = Overlay {
        lowers: &rootfs.lowers,
        writable: Some((&rootfs.upper, &rootfs.work)),
    };
    let root = overlay.detached()?;
    for place in places {
        let missing = if place.is_file {
            Missing::File
        } else {
            Missing::Directory
        };
        path::ensure(root.as_fd(), &place.path, missing)
            .blame_container(format_args!("make {}", place.path))?;
    }
    Ok(root)
}
