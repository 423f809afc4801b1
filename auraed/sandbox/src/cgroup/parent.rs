//! Groups that callers name as the parent of a pod's own: made if missing, and removed when they are empty again.
//!
//! Whether such a group is ours is written down twice, for a kill may come between any two steps: in the caller's
//! [`Record`], before anything is made, and on the group itself as an extended attribute, for whoever leaves it last.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::files::{check_name, is_gone, read, write};
use super::group::{delegate, make_directory};
use super::mounts::{Hierarchy, Kind};
use super::{Controller, Error, Group, Tree, io_error};

/// A parent is no deeper.
const MAX_DEPTH: usize = 32;
/// How often a parent is made again that another pod's end took away meanwhile.
const TRIES: usize = 16;
/// On groups that were made here.
const MARK: &str = "trusted.aurae";
/// Both must have a value before a v1 group can have processes.
const CPUSET_FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Where a pod's group is made, for its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// As in [`Placement::Below`](super::Placement::Below).
    pub parent: String,
    /// The uppermost group that was missing: from there on they are ours.
    pub made: Option<PathBuf>,
}

/// A parent as a path below each hierarchy's mount point.
pub(super) fn parent_path(parent: &str) -> Result<PathBuf, Error> {
    let not_one = || Error::Name(parent.to_owned());
    let relative = parent.strip_prefix('/').ok_or_else(not_one)?;
    let components: Vec<&str> = relative
        .split('/')
        .filter(|component| !component.is_empty())
        .collect();
    let fits =
        components.len() <= MAX_DEPTH && components.iter().all(|component| check_name(component).is_ok());
    if fits {
        Ok(components.into_iter().collect())
    } else {
        Err(not_one())
    }
}

impl Tree {
    /// What to write down before a group is made in `parent`.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn record(&self, parent: &str) -> Result<Record, Error> {
        let path = parent_path(parent)?;
        let is_missing = |above: &Path| {
            let mut mounts = self.hierarchies().iter().map(|hierarchy| &hierarchy.mount);
            mounts.all(|mount| !mount.join(above).is_dir())
        };
        let above: Vec<&Path> = path
            .ancestors()
            .filter(|above| !above.as_os_str().is_empty())
            .collect();
        let made = above.into_iter().rev().find(|above| is_missing(above));
        Ok(Record {
            parent: parent.to_owned(),
            made: made.map(Path::to_owned),
        })
    }

    /// Kills and removes pod `id`'s group where the record says that it is, and the groups above that were made for it and
    /// are empty. Succeeds if they are gone.
    ///
    /// # Errors
    /// As [`Group::remove`].
    pub async fn remove_recorded(&self, record: &Record, id: &str) -> Result<(), Error> {
        let path = parent_path(&record.parent)?;
        let group = self.pod(super::Placement::Below(record.parent.clone()), id)?;
        group.remove().await?;
        for hierarchy in self.hierarchies() {
            remove_above(&hierarchy.mount, &path, record.made.as_deref());
        }
        Ok(())
    }
}

/// From the parent up to the first that is another's or has something in it.
fn remove_above(mount: &Path, parent: &Path, made: Option<&Path>) {
    for above in parent.ancestors().filter(|above| !above.as_os_str().is_empty()) {
        let directory = mount.join(above);
        let ours = made.is_some_and(|made| above.starts_with(made)) || is_marked(&directory);
        if !ours || !matches!(rustix::fs::rmdir(&directory), Ok(()) | Err(Errno::NOENT)) {
            return;
        }
    }
}

fn is_marked(directory: &Path) -> bool {
    rustix::fs::getxattr(directory, MARK, &mut [0_u8; 8]).is_ok()
}

/// Makes the group's directory in one hierarchy, and those above. True: it was not there before.
pub(super) fn make_with_parents(hierarchy: &Hierarchy, group: &Path) -> Result<bool, Error> {
    let directory = hierarchy.mount.join(group);
    for _ in 0..TRIES {
        match make_directory(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_parents(hierarchy, group)?,
            // Those above are there, whoever made them; on v2 they have to pass their controllers on.
            Ok(true) if hierarchy.kind == Kind::V2 => {
                return delegate_down(hierarchy, group).map(|()| true);
            }
            made => return made.map_err(io_error("make", &directory)),
        }
    }
    make_directory(&directory).map_err(io_error("make", &directory))
}

fn make_parents(hierarchy: &Hierarchy, group: &Path) -> Result<(), Error> {
    let mut directory = hierarchy.mount.clone();
    for component in group.parent().into_iter().flatten() {
        directory.push(component);
        match make_directory(&directory) {
            // Not vital: the record tells as well.
            Ok(true) => drop(rustix::fs::setxattr(&directory, MARK, b"1", XattrFlags::empty())),
            Ok(false) => {}
            // It was taken away again: the caller tries again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("make", &directory)(error)),
        }
        match prepare_inner(hierarchy, &directory) {
            Err(Error::Io { source, .. }) if is_gone(&source) => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

/// Has every group above pass the controllers on.
fn delegate_down(hierarchy: &Hierarchy, group: &Path) -> Result<(), Error> {
    if hierarchy.delegated().next().is_none() {
        return Ok(());
    }
    let mut directory = hierarchy.mount.clone();
    let parent = group.parent().unwrap_or(Path::new(""));
    let passed_on = read(&directory.join(parent).join("cgroup.subtree_control"))?;
    let has = |controller: &Controller| passed_on.split_whitespace().any(|name| name == controller.name());
    if hierarchy.delegated().all(|controller| has(&controller)) {
        return Ok(());
    }
    for component in group.parent().into_iter().flatten() {
        directory.push(component);
        delegate(hierarchy, &directory)?;
    }
    Ok(())
}

/// Lets the groups below a group have limits (v2) and processes (v1's cpuset).
pub(super) fn prepare_inner(hierarchy: &Hierarchy, directory: &Path) -> Result<(), Error> {
    match hierarchy.kind {
        Kind::V2 => delegate(hierarchy, directory),
        Kind::V1 if hierarchy.controllers.contains(&Controller::Cpuset) => {
            inherit_cpuset(directory)?;
            // Groups below begin with what this one has.
            write(&directory.join("cgroup.clone_children"), "1")
        }
        Kind::V1 => Ok(()),
    }
}

/// A new group of v1's cpuset has no CPU and no memory node: it takes its parent's.
fn inherit_cpuset(directory: &Path) -> Result<(), Error> {
    CPUSET_FILES
        .iter()
        .try_for_each(|file| inherit(directory, file).map(drop))
}

/// The top of a hierarchy has a value.
fn inherit(directory: &Path, file: &str) -> Result<String, Error> {
    let own = directory.join(file);
    let value = read(&own)?;
    match directory.parent() {
        Some(parent) if value.trim().is_empty() => {
            let value = inherit(parent, file)?;
            write(&own, value.trim())?;
            Ok(value)
        }
        _ => Ok(value),
    }
}

impl Group {
    /// On v1, what a group of processes needs before the first one.
    pub(super) fn prepare_cpuset(&self, inner: bool) -> Result<(), Error> {
        let Some((Kind::V1, directory)) = self.place(Controller::Cpuset) else {
            return Ok(());
        };
        inherit_cpuset(&directory)?;
        if inner {
            write(&directory.join("cgroup.clone_children"), "1")?;
        }
        Ok(())
    }
}
