//! One group: the same relative directory in every hierarchy.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::files::{check_name, children, is_gone, read, write};
use super::limits::Limits;
use super::mounts::{Hierarchy, Kind};
use super::parent::make_with_parents;
use super::tree::Shared;
use super::{Controller, Error, io_error, limits};

/// One group: a directory at the same relative path in every hierarchy. Cheap to clone; does not own the directory.
#[derive(Debug, Clone)]
pub struct Group {
    pub(super) shared: Arc<Shared>,
    pub(super) path: PathBuf,
    pub(super) level: Level,
}

/// How deep a group is, which decides what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// The daemon's root, a QoS group or a pod: groups below, no processes.
    Inner,
    /// Processes, no groups of ours below.
    Leaf,
}

/// How a new process gets into a group: `clone3` with `v2` (CLONE_INTO_CGROUP), then `0` written to each of `v1`.
#[derive(Debug)]
pub struct Membership {
    /// O_PATH descriptor of the group's v2 directory, if there is a v2 hierarchy.
    pub v2: Option<OwnedFd>,
    /// The group's `cgroup.procs` file on each v1 hierarchy.
    pub v1: Vec<PathBuf>,
}

impl Group {
    /// Makes a leaf below this group, for processes, with a container's limits; succeeds if it is there.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Io`], [`Error::Limit`]; a group made by this call is removed again.
    pub fn create_child(&self, leaf: &str, limits: &Limits) -> Result<Group, Error> {
        let group = self.child(leaf)?;
        group.create(limits)?;
        Ok(group)
    }

    /// A leaf below this group, whether it is there or not.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn child(&self, leaf: &str) -> Result<Group, Error> {
        check_name(leaf)?;
        Ok(Group {
            shared: Arc::clone(&self.shared),
            path: self.path.join(leaf),
            level: Level::Leaf,
        })
    }

    /// The leaf `<name>-<number>` below this group that has the highest number.
    pub(crate) fn newest_child(&self, name: &str) -> Option<Group> {
        let (_, directory) = self.directories().next()?;
        let number = |child: &PathBuf| -> Option<u32> {
            let leaf = child.file_name()?.to_str()?;
            leaf.strip_prefix(name)?.strip_prefix('-')?.parse().ok()
        };
        let newest = children(&directory).iter().filter_map(number).max()?;
        self.child(&format!("{name}-{newest}")).ok()
    }

    /// Changes the group's limits; values that are absent stay.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Io`].
    pub fn set(&self, limits: &Limits) -> Result<(), Error> {
        limits::change(self, limits)
    }

    /// How a new process gets into the group.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn membership(&self) -> Result<Membership, Error> {
        let mut membership = Membership {
            v2: None,
            v1: Vec::new(),
        };
        for (kind, directory) in self.directories() {
            match kind {
                Kind::V1 => membership.v1.push(directory.join("cgroup.procs")),
                Kind::V2 => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let open = rustix::fs::open(&directory, flags, Mode::empty());
                    membership.v2 = Some(open.map_err(io_error("open", &directory))?);
                }
            }
        }
        Ok(membership)
    }

    /// Path of the group below the hierarchies' mount points.
    pub fn relative_path(&self) -> &Path {
        &self.path
    }

    /// Whether the group exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.directories().any(|(_, directory)| directory.is_dir())
    }

    /// Ids of the processes in the group and below it; none if it is gone.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn processes(&self) -> Result<Vec<u32>, Error> {
        let mut processes = Vec::new();
        for (_, directory) in self.directories() {
            list_processes(&directory, &mut processes)?;
        }
        processes.sort_unstable();
        processes.dedup();
        Ok(processes)
    }

    /// Stops (or with `false` continues) every process in the group and below it. Does not wait for it; succeeds if
    /// the group is gone.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn freeze(&self, frozen: bool) -> Result<(), Error> {
        let written = match self.place(Controller::Freezer) {
            Some((Kind::V2, directory)) => {
                write(&directory.join("cgroup.freeze"), if frozen { "1" } else { "0" })
            }
            Some((Kind::V1, directory)) => write(
                &directory.join("freezer.state"),
                if frozen { "FROZEN" } else { "THAWED" },
            ),
            None => Ok(()),
        };
        match written {
            Err(Error::Io { source, .. }) if is_gone(&source) => Ok(()),
            written => written,
        }
    }

    /// Makes the directories and writes the limits; on failure takes away what it made.
    pub(super) fn create(&self, limits: &Limits) -> Result<(), Error> {
        let made = self.make_directories();
        let result = match &made {
            Ok(fresh) => self
                .prepare_cpuset(self.level == Level::Inner)
                .and_then(|()| self.delegate())
                .and_then(|()| limits::create(self, limits, *fresh)),
            Err(_) => Ok(()),
        };
        if made.is_err() || (result.is_err() && matches!(made, Ok(true))) {
            for (_, directory) in self.directories() {
                // The error that brought us here is the one to tell; an occupied or absent directory stays as it is.
                let _ = rustix::fs::rmdir(&directory);
            }
        }
        made.and(result)
    }

    /// Makes the group's directory in each hierarchy. True: it was nowhere before.
    fn make_directories(&self) -> Result<bool, Error> {
        let mut fresh = true;
        for hierarchy in &self.shared.hierarchies {
            let directory = hierarchy.mount.join(&self.path);
            fresh &= match self.level {
                Level::Inner => make_with_parents(hierarchy, &self.path)?,
                Level::Leaf => make_directory(&directory).map_err(io_error("make", &directory))?,
            };
        }
        Ok(fresh)
    }

    /// Lets the groups below have limits of their own, on v2.
    pub(super) fn delegate(&self) -> Result<(), Error> {
        if self.level == Level::Leaf {
            return Ok(());
        }
        for hierarchy in self
            .shared
            .hierarchies
            .iter()
            .filter(|hierarchy| hierarchy.kind == Kind::V2)
        {
            delegate(hierarchy, &hierarchy.mount.join(&self.path))?;
        }
        Ok(())
    }

    /// The group's directory in every hierarchy.
    pub(super) fn directories(&self) -> impl Iterator<Item = (Kind, PathBuf)> {
        self.shared
            .hierarchies
            .iter()
            .map(|hierarchy| (hierarchy.kind, hierarchy.mount.join(&self.path)))
    }

    /// The group's directory in the hierarchy that has a controller.
    pub(super) fn place(&self, controller: Controller) -> Option<(Kind, PathBuf)> {
        let mut hierarchies = self.shared.hierarchies.iter();
        let hierarchy = hierarchies.find(|hierarchy| hierarchy.controllers.contains(&controller))?;
        Some((hierarchy.kind, hierarchy.mount.join(&self.path)))
    }
}

/// Writes `cgroup.subtree_control` for the controllers that we use there, if there are any.
pub(super) fn delegate(hierarchy: &Hierarchy, directory: &Path) -> Result<(), Error> {
    let names: Vec<_> = hierarchy
        .delegated()
        .map(|controller| format!("+{controller}"))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    write(&directory.join("cgroup.subtree_control"), &names.join(" "))
}

/// True: it was made.
pub(super) fn make_directory(directory: &Path) -> io::Result<bool> {
    match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) if directory.is_dir() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn list_processes(directory: &Path, processes: &mut Vec<u32>) -> Result<(), Error> {
    let text = match read(&directory.join("cgroup.procs")) {
        Err(Error::Io { source, .. }) if is_gone(&source) => return Ok(()),
        text => text?,
    };
    processes.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    children(directory)
        .iter()
        .try_for_each(|child| list_processes(child, processes))
}
