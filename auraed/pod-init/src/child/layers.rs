//! Image layers in a container: below its root, and as volumes.
//!
//! In a user namespace the files of a layer must belong to the users that the container has, while other pods see them as
//! they are on the disk. So each layer's directory is covered, in this process's own mount namespace, by a mount of itself
//! that maps its ids; overlay finds that when it looks the path up. (It does not know how to be mapped as a whole.)

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{chdir, fchdir};

use super::overlay::{self, Overlay};
use super::users::Users;
use super::{mount, path};
use crate::fault::{Blame, Fault, Result};
use crate::sys;

/// The layers that one container uses.
pub(crate) struct Layers<'a> {
    users: Option<Users<'a>>,
    /// Covered already.
    mapped: Vec<PathBuf>,
}

impl<'a> Layers<'a> {
    pub(super) fn new(users: Option<Users<'a>>) -> Self {
        Self {
            users,
            mapped: Vec::new(),
        }
    }

    pub(super) fn users(&self) -> Option<&Users<'a>> {
        self.users.as_ref()
    }

    /// Who owns what the container writes, if that is not who this process is.
    pub(super) fn owner(&self) -> Result<Option<(u32, u32)>> {
        self.users.map(|users| users.root()).transpose()
    }

    /// Maps layers, if that is needed.
    pub(super) fn prepare(&mut self, lowers: &[PathBuf]) -> Result<()> {
        let Some(users) = self.users else { return Ok(()) };
        for lower in lowers {
            if !self.mapped.contains(lower) {
                cover(lower, users.namespace)?;
                self.mapped.push(lower.clone());
            }
        }
        Ok(())
    }

    /// An image's files, or the directory `part` of them: a detached mount that is read-only. `scratch` is any directory of
    /// the container's own on the host.
    pub(super) fn image(&mut self, lowers: &[PathBuf], part: &str, scratch: &Path) -> Result<OwnedFd> {
        self.prepare(lowers)?;
        let whole = match lowers {
            [] => return Err(Fault::Node("an image without layers".to_owned())),
            // Overlay wants two. It is opened below what an overlay may be mounted on.
            [only] => return copy_part(overlay::open_directory(only)?.as_fd(), part),
            several => {
                let place = overlay::open_directory(scratch)?;
                let overlay = Overlay {
                    lowers: several,
                    writable: None,
                };
                overlay.mount(place.as_fd())?
            }
        };
        let copy = copy_part(whole.as_fd(), part);
        detach(whole.as_fd())?;
        copy
    }
}

fn cover(lower: &Path, users: BorrowedFd<'_>) -> Result<()> {
    let tried = format_args!("map the ids of the layer {}", lower.display());
    let copy = mount::copy(lower, false).blame_node(tried)?;
    sys::map_mount(copy.as_fd(), users).blame_node(tried)?;
    let place = overlay::open_directory(lower)?;
    mount::attach(copy.as_fd(), place.as_fd()).blame_node(tried)
}

/// A part of an image is a directory; its links lead no further than the image's root.
fn copy_part(whole: BorrowedFd<'_>, part: &str) -> Result<OwnedFd> {
    let tried = format_args!("mount the part {part:?} of an image");
    let place = match path::open(whole, part, OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => {
            return Err(Fault::Container(format!("the image has no directory {part:?}")));
        }
        result => result.blame_container(tried)?,
    };
    let stat = fstat(&place).blame_node(tried)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Fault::Container(format!(
            "{part:?} of the image is not a directory"
        )));
    }
    let copy = mount::copy_of(place.as_fd(), false).blame_node(tried)?;
    mount::make_only_this_read_only(copy.as_fd()).blame_node(tried)?;
    Ok(copy)
}

/// Takes a mount away again; what was copied from it stays.
fn detach(mount: BorrowedFd<'_>) -> Result<()> {
    let tried = "take away an image";
    fchdir(mount).blame_node(tried)?;
    unmount(".", UnmountFlags::DETACH).blame_node(tried)?;
    chdir("/").blame_node(tried)
}
