//! The tree of groups: which hierarchies there are, and the daemon's root and QoS groups in each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::devices::Filter;
use super::files::{check_name, children, errno, read, write};
use super::group::{Group, Level, delegate, make_directory};
use super::limits::Limits;
use super::mounts::{Hierarchy, Kind, Mounts};
use super::parent::{parent_path, prepare_inner};
use super::{Controller, Error, Placement, Qos, Version, Warning, io_error};

/// Child of a v2 top that takes the processes which are in the way; the name that container engines use as well.
const MOVED_TO: &str = "init";
/// How often processes are moved again that were forked meanwhile.
const MOVES: usize = 8;

/// The mounted hierarchies and the daemon's root in each. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tree {
    shared: Arc<Shared>,
    root: PathBuf,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) version: Version,
    /// The v2 hierarchy is first: a group that is empty there is empty everywhere.
    pub(super) hierarchies: Vec<Hierarchy>,
    /// Whether the kernel has CFS bandwidth control.
    pub(super) cpu_quota: bool,
    /// The device program for v2 groups, if v1 does not do that job.
    pub(super) filter: Option<Filter>,
}

impl Tree {
    /// Reads the mounted hierarchies and makes the daemon's `root` (such as `aurae`, or several components) and its
    /// QoS groups in each.
    ///
    /// A hierarchy's mount point is its top, whatever group the daemon is in: inside a container that is the
    /// container's group, elsewhere pods are not charged to the daemon.
    ///
    /// # Errors
    /// [`Error::NoCgroups`], [`Error::NotWritable`], [`Error::Name`].
    pub fn detect(root: &str) -> Result<(Tree, Vec<Warning>), Error> {
        let mountinfo = read(Path::new("/proc/self/mountinfo"))?;
        let own = read(Path::new("/proc/self/cgroup"))?;
        Tree::open(Mounts::parse(&mountinfo, &own), root)
    }

    pub(super) fn open(mounts: Mounts, root: &str) -> Result<(Tree, Vec<Warning>), Error> {
        let root = root.trim_matches('/');
        root.split('/').try_for_each(check_name)?;
        let root = PathBuf::from(root);
        let mut warnings = Vec::new();
        let mut shared = Shared {
            version: Version::V2,
            hierarchies: Vec::new(),
            cpu_quota: false,
            filter: None,
        };
        let mut refused = None;
        let v1_controllers: Vec<_> = mounts
            .v1
            .iter()
            .flat_map(|hierarchy| hierarchy.controllers.clone())
            .collect();
        let v2 = mounts.v2.map(|mount| v2_hierarchy(mount, &v1_controllers));
        for mut hierarchy in v2.into_iter().chain(mounts.v1) {
            match prepare(&mut hierarchy, &root, &mut warnings) {
                Ok(()) => shared.hierarchies.push(hierarchy),
                Err(error) => refused = refused.or(Some((hierarchy.mount, error))),
            }
        }
        if shared.hierarchies.is_empty() {
            return Err(match refused {
                Some((path, source)) => Error::NotWritable {
                    path,
                    source: Box::new(source),
                },
                None => Error::NoCgroups,
            });
        }
        shared.version = version(&shared.hierarchies);
        let tree = Tree {
            shared: Arc::new(shared.complete(&root, &mut warnings)),
            root,
        };
        tree.set_qos_shares(Qos::BestEffort, 0)?;
        Ok((tree, warnings))
    }

    /// Which interface the machine offers.
    pub fn version(&self) -> Version {
        self.shared.version
    }

    pub(super) fn hierarchies(&self) -> &[Hierarchy] {
        &self.shared.hierarchies
    }

    /// The daemon's root group, for limits over all pods.
    pub fn root(&self) -> Group {
        Group {
            shared: Arc::clone(&self.shared),
            path: self.root.clone(),
            level: Level::Inner,
        }
    }

    /// Makes pod `id`'s group with its limits; succeeds if it is there.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Io`], [`Error::Limit`]; a group made by this call is removed again.
    pub fn create_pod(
        &self,
        placement: impl Into<Placement>,
        id: &str,
        limits: &Limits,
    ) -> Result<Group, Error> {
        let group = self.pod(placement, id)?;
        group.create(limits)?;
        Ok(group)
    }

    /// Pod `id`'s group, whether it is there or not.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn pod(&self, placement: impl Into<Placement>, id: &str) -> Result<Group, Error> {
        check_name(id)?;
        let parent = match placement.into() {
            Placement::Qos(qos) => self.root.join(qos.directory()),
            Placement::Below(parent) => parent_path(&parent)?,
        };
        let path = parent.join(id);
        Ok(Group {
            shared: Arc::clone(&self.shared),
            path,
            level: Level::Inner,
        })
    }

    /// Where the hierarchies are mounted.
    pub(crate) fn mounts(&self) -> impl Iterator<Item = &Path> {
        self.shared
            .hierarchies
            .iter()
            .map(|hierarchy| hierarchy.mount.as_path())
    }

    /// Every pod that has a group in some hierarchy, for cleaning up.
    pub fn pods(&self) -> Vec<(Qos, String)> {
        let mut pods = Vec::new();
        for qos in Qos::ALL {
            let directories = self.shared.hierarchies.iter();
            let directories =
                directories.map(|hierarchy| hierarchy.mount.join(&self.root).join(qos.directory()));
            for pod in directories.flat_map(|directory| children(&directory)) {
                let Some(id) = pod.file_name().and_then(|name| name.to_str()) else {
                    continue;
                };
                if !pods.iter().any(|(other, known)| *other == qos && known == id) {
                    pods.push((qos, id.to_owned()));
                }
            }
        }
        pods
    }

    /// Sets a QoS group's CPU shares: for `Burstable` the sum of its pods' requests. At least 2, which is what
    /// `BestEffort` has.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn set_qos_shares(&self, qos: Qos, shares: u64) -> Result<(), Error> {
        let path = self.root.join(qos.directory());
        let group = Group {
            shared: Arc::clone(&self.shared),
            path,
            level: Level::Inner,
        };
        group.set(&Limits {
            cpu_shares: Some(shares),
            ..Limits::default()
        })
    }

    /// Kills what runs below the daemon's root and removes the root.
    ///
    /// # Errors
    /// As [`Group::remove`].
    pub async fn remove(&self) -> Result<(), Error> {
        self.root().remove().await
    }
}

impl Shared {
    // What is known only once there are groups to look into.
    fn complete(mut self, root: &Path, warnings: &mut Vec<Warning>) -> Shared {
        let root = |hierarchy: &Hierarchy| hierarchy.mount.join(root);
        let cpu = self
            .hierarchies
            .iter()
            .find(|hierarchy| hierarchy.controllers.contains(&Controller::Cpu));
        self.cpu_quota = cpu.is_some_and(|hierarchy| {
            let file = if hierarchy.kind == Kind::V1 {
                "cpu.cfs_quota_us"
            } else {
                "cpu.max"
            };
            root(hierarchy).join(file).exists()
        });
        if cpu.is_some() && !self.cpu_quota {
            warnings.push(Warning::Missing {
                controller: Controller::CpuQuota,
                source: None,
            });
        }
        let mut lost = None;
        if self
            .hierarchies
            .iter()
            .any(|h| h.kind == Kind::V2 && h.controllers.contains(&Controller::Devices))
        {
            match Filter::load() {
                Ok(filter) => self.filter = Some(filter),
                Err(error) => lost = Some(error),
            }
        }
        for controller in Controller::NEEDED {
            let present = self
                .hierarchies
                .iter()
                .any(|hierarchy| hierarchy.controllers.contains(&controller));
            let lost = if controller == Controller::Devices {
                lost.take()
            } else {
                None
            };
            if !present || lost.is_some() {
                warnings.push(Warning::Missing {
                    controller,
                    source: lost,
                });
            }
        }
        self
    }
}

fn version(hierarchies: &[Hierarchy]) -> Version {
    let has = |kind| {
        hierarchies
            .iter()
            .any(|hierarchy| hierarchy.kind == kind && !hierarchy.controllers.is_empty())
    };
    match (has(Kind::V1), has(Kind::V2)) {
        (true, true) => Version::Hybrid,
        (true, false) => Version::V1,
        (false, _) => Version::V2,
    }
}

// What is on v1 cannot be on v2 at the same time; freezing is better done here in any case.
fn v2_hierarchy(mount: PathBuf, on_v1: &[Controller]) -> Hierarchy {
    let available = read(&mount.join("cgroup.controllers")).unwrap_or_default();
    let available = |controller: &Controller| {
        available
            .split_whitespace()
            .any(|name| name == controller.to_string())
    };
    let mut controllers = vec![Controller::Freezer];
    let built_in = [Controller::CpuAccounting, Controller::Devices];
    controllers.extend(
        built_in
            .into_iter()
            .filter(|controller| !on_v1.contains(controller)),
    );
    let delegated = [
        Controller::Cpu,
        Controller::Memory,
        Controller::Pids,
        Controller::Cpuset,
        Controller::HugePages,
        Controller::Io,
    ];
    controllers.extend(delegated.into_iter().filter(available));
    Hierarchy {
        mount,
        kind: Kind::V2,
        controllers,
    }
}

// Makes the root and the QoS groups in one hierarchy and, on v2, passes the controllers down to them.
fn prepare(hierarchy: &mut Hierarchy, root: &Path, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    if hierarchy.kind == Kind::V2 {
        delegate_top(hierarchy, warnings)?;
    }
    let mut directory = hierarchy.mount.clone();
    for component in root {
        directory.push(component);
        make(hierarchy, &directory)?;
    }
    Qos::ALL
        .iter()
        .try_for_each(|qos| make(hierarchy, &directory.join(qos.directory())))
}

fn make(hierarchy: &Hierarchy, directory: &Path) -> Result<(), Error> {
    make_directory(directory).map_err(io_error("make", directory))?;
    prepare_inner(hierarchy, directory)
}

// A group with processes cannot pass controllers on (EBUSY), except the real root: in a container whose processes are
// at the top of its own tree they have to move first. A controller that cannot be passed on at all is given up.
fn delegate_top(hierarchy: &mut Hierarchy, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    let mount = hierarchy.mount.clone();
    let Err(first) = delegate(hierarchy, &mount) else {
        return Ok(());
    };
    // Nobody moves for what few pods ask for.
    let needed = [Controller::Cpu, Controller::Memory, Controller::Pids];
    let needed = hierarchy
        .controllers
        .iter()
        .any(|controller| needed.contains(controller));
    if errno(&first) == Some(libc::EBUSY) && needed {
        let to = mount.join(MOVED_TO);
        for _ in 0..MOVES {
            move_processes(&mount, &to)?;
            if delegate(hierarchy, &mount).is_ok() {
                warnings.push(Warning::Moved { from: mount, to });
                return Ok(());
            }
        }
        return Err(first);
    }
    let mut lost = Vec::new();
    for controller in hierarchy.delegated() {
        if let Err(error) = write(&mount.join("cgroup.subtree_control"), &format!("+{controller}")) {
            lost.push((controller, error));
        }
    }
    hierarchy
        .controllers
        .retain(|controller| !lost.iter().any(|(other, _)| other == controller));
    if needed && hierarchy.delegated().next().is_none() {
        return Err(first);
    }
    Ok(())
}

fn move_processes(from: &Path, to: &Path) -> Result<(), Error> {
    make_directory(to).map_err(io_error("make", to))?;
    for pid in read(&from.join("cgroup.procs"))?.lines() {
        match write(&to.join("cgroup.procs"), pid) {
            // It ended meanwhile.
            Err(error) if errno(&error) == Some(libc::ESRCH) => {}
            result => result?,
        }
    }
    Ok(())
}
