//! The lowest layer of every container's root: empty places for what is mounted into each.
//!
//! As the lowest one it hides nothing: it shows where an image has nothing of that name, and only until something is mounted
//! there. A container of which each place has to be made in a layer of its own costs half a dozen files more on the disk,
//! which is most of what making it costs.

use crate::files;
use auraed_image::{Image, Store};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Of the kernel's own trees, and of the pod's or sandbox's files: every container has all of them.
const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

fn place(state: &Path) -> PathBuf {
    state.join("lowest")
}

/// Makes it, if it is not there. `state` is the daemon's directory on the disk, where the images' layers are as well.
pub(crate) fn make(state: &Path) -> io::Result<()> {
    let lowest = place(state);
    files::make_private(&lowest)?;
    let open = |path: &Path, mode| fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode));
    open(&lowest, 0o755)?;
    for directory in DIRECTORIES.map(|name| lowest.join(name)) {
        files::make_private(&directory)?;
        open(&directory, 0o755)?;
    }
    for file in FILES.map(|name| lowest.join(name)) {
        fs_err::OpenOptions::new().append(true).create(true).open(&file)?;
        open(&file, 0o644)?;
    }
    Ok(())
}

/// The layers of a container's root, the top one first.
pub(crate) fn layers(images: &Store, image: &Image, state: &Path) -> Vec<PathBuf> {
    let mut layers = images.lower_directories(image);
    layers.push(place(state));
    layers
}
