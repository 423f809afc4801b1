//! Roots of containers that are made ahead of their start: on a disk that is most of what a start takes.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use auraed_pod_init::protocol::{Mount, MountKind};
use auraed_pod_init::root::{self, Place};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::start::make_parent;
use super::{ContainerSpec, Error, Sandbox};
use crate::sys;

/// Since this version of its protocol a pod init takes a root.
const SINCE: u32 = 3;
/// Roots that are made and not used yet: each is an open file and a mount.
const MOST: usize = 64;
/// What the kernel's own trees are mounted on.
const TREES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A container's root, made ahead of its start. Dropping it leaves nothing but files that the start would make as well.
#[derive(Debug)]
pub struct Root {
    pub(super) mount: OwnedFd,
    _room: OwnedSemaphorePermit,
}

/// How many roots there may be.
#[derive(Debug)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Sandbox {
    /// Makes the root of a container that is going to be started, as far as that can be done without the start. Blocks. Not for
    /// a sandbox with a user namespace, where layers are mapped in the container's own mounts: a start refuses it.
    ///
    /// `None`: the start makes it, and tells what is wrong with it if something is. So it is if many are made already, if the
    /// pod init is an earlier daemon's, and on a kernel before 6.5.
    #[must_use]
    pub fn make_root(&self, spec: &ContainerSpec) -> Option<Root> {
        if self.inner.version.get().is_none_or(|version| *version < SINCE) {
            return None;
        }
        let room = Arc::clone(&self.inner.host.room().0).try_acquire_owned().ok()?;
        [&spec.rootfs.upper, &spec.log_path]
            .into_iter()
            .try_for_each(|file| make_parent(file))
            .ok()?;
        match make(spec, &places(spec)) {
            Ok(mount) => Some(Root { mount, _room: room }),
            Err(error) => {
                tracing::debug!(pod = self.id(), container = spec.name, %error, "a root is not made ahead");
                None
            }
        }
    }
}

/// Files get the modes that the start gives them, whatever the daemon's umask is: that is all threads', so that it takes one
/// which ends here.
fn make(spec: &ContainerSpec, places: &[Place]) -> Result<OwnedFd, Error> {
    let failed = |error: io::Error| Error::Init(error.to_string());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("root".to_owned());
        let thread = thread.spawn_scoped(scope, || {
            sys::take_no_bits().map_err(failed)?;
            root::make(&spec.rootfs, &spec.log_path, places).map_err(Error::from)
        });
        thread.map_err(failed)?.join().unwrap_or(Err(Error::Gone))
    })
}

/// What the start will look for. A place inside of another mount is not the root's, and one of which it cannot be told yet what
/// is mounted there is left to the start.
fn places(spec: &ContainerSpec) -> Vec<Place> {
    let targets = spec.mounts.iter().map(|mount| plain(&mount.target));
    let covers: HashSet<&str> = targets.chain(TREES).collect();
    let is_roots = |path: &str| {
        let mut above = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
        above.all(|above| !covers.contains(above))
    };
    let mounts = spec.mounts.iter().filter_map(|mount| {
        let path = plain(&mount.target);
        let wanted = is_roots(path) && !TREES.contains(&path);
        Some((path, is_file(mount).filter(|_| wanted)?))
    });
    let cwd = Some(plain(&spec.cwd)).filter(|path| is_roots(path) && !covers.contains(path));
    let directories = TREES.into_iter().chain(cwd).map(|path| (path, false));
    let all = directories.chain(mounts).filter(|(path, _)| !path.is_empty());
    all.map(|(path, is_file)| Place {
        path: path.to_owned(),
        is_file,
    })
    .collect()
}

fn plain(path: &str) -> &str {
    path.trim_end_matches('/')
}

/// Whether a mount is of a file; `None` if that is not known yet.
fn is_file(mount: &Mount) -> Option<bool> {
    match mount.kind {
        MountKind::Bind if mount.sub_path.is_empty() => {
            std::fs::metadata(&mount.source).ok().map(|found| !found.is_dir())
        }
        MountKind::Bind | MountKind::Passed => None,
        MountKind::Tmpfs { .. } | MountKind::Image { .. } => Some(false),
    }
}
