//! Starting a container: its cgroup, its directories, and the request to the pod init.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use auraed_pod_init::protocol::{
    Call, CgroupDirectory, Container, ContainerRun, Mount, MountKind, PidMode, Process, Reply, Restrictions,
    TerminalSize, VERSION,
};
use auraed_pod_init::wire::MAX_DESCRIPTORS;
use rustix::fs::{Mode, OFlags};

use super::launch::{cgroup_error, step};
use super::{ContainerSpec, Error, Root, Sandbox, Seccomp, StartError, devices};
use crate::{Capabilities, apparmor, cgroup, seccomp};

/// Since this version of its protocol a pod init knows what [`Sandbox::check_version`] looks for.
const MOUNTS_AND_CONFINEMENT: u32 = 2;

/// A request and the detached mounts that go with it.
type Prepared = (Container, Vec<OwnedFd>);

impl Sandbox {
    /// Makes the container's cgroup and starts it; returns when its program was executed.
    ///
    /// Idempotent by [`ContainerSpec::id`]: a repeat while it runs returns the same run.
    ///
    /// # Errors
    /// [`StartError::Refused`] if the container is to blame, else [`StartError::Sandbox`]. Nothing is left of it then.
    pub async fn start_container(&self, spec: ContainerSpec) -> Result<ContainerRun, StartError> {
        self.start_with_root(spec, None).await
    }

    /// The same, in a root that [`Sandbox::make_root`] made for this container.
    ///
    /// # Errors
    /// As [`Sandbox::start_container`].
    pub async fn start_with_root(
        &self,
        spec: ContainerSpec,
        root: Option<Root>,
    ) -> Result<ContainerRun, StartError> {
        let sandbox = self.clone();
        let leaf = format!("{}-{}", spec.name, spec.attempt);
        let prepared = tokio::task::spawn_blocking({
            let leaf = leaf.clone();
            move || sandbox.prepare(spec, root, &leaf)
        });
        let started = match prepared.await.map_err(|_| StartError::Sandbox(Error::Gone))? {
            Ok((container, passed)) => {
                self.inner
                    .connection
                    .call(Call::Start(Box::new(container)), passed)
                    .await
            }
            Err(error) => Err(error),
        };
        match started {
            Ok((Reply::Started { run, warnings }, _)) => {
                for warning in warnings {
                    tracing::warn!(pod = self.id(), container = %run.name, "{warning}");
                }
                Ok(run)
            }
            Ok(_) => Err(StartError::Sandbox(Error::Init(
                "it gave another answer than was asked for".to_owned(),
            ))),
            Err(error @ Error::AlreadyRunning) => Err(StartError::Sandbox(error)),
            Err(error) => {
                self.remove_leaf(&leaf).await;
                Err(match error {
                    Error::Refused(text) => StartError::Refused(text),
                    error => StartError::Sandbox(error),
                })
            }
        }
    }

    async fn remove_leaf(&self, leaf: &str) {
        let Some(group) = self.inner.group.as_ref().and_then(|group| group.child(leaf).ok()) else {
            return;
        };
        if let Err(error) = group.remove().await {
            tracing::warn!(pod = self.id(), %error, "cannot remove a container's cgroup");
        }
    }

    /// All that blocks: directories and cgroup files.
    fn prepare(&self, spec: ContainerSpec, root: Option<Root>, leaf: &str) -> Result<Prepared, Error> {
        self.check_version(&spec)?;
        for file in [&spec.log_path, &spec.exit_path, &spec.rootfs.upper] {
            make_parent(file).map_err(step("make a container's directory", self.id()))?;
        }
        if let Some(profile) = &spec.apparmor {
            apparmor::check(profile)?;
        }
        let (nodes, rules) = devices::resolve(&spec.devices)?;
        let (mounts, mut passed) = self.take_mounts(spec.mounts)?;
        let log_directory = spec.log_path.parent().map(open_directory);
        passed.extend(
            log_directory
                .transpose()
                .map_err(step("open the directory of a log", self.id()))?,
        );
        let capabilities = if spec.privileged {
            Capabilities::ALL
        } else {
            spec.capabilities
        };
        let (filter, flags) = match &spec.seccomp {
            Seccomp::Default if !spec.privileged => (seccomp::default_filter(capabilities).to_string(), 0),
            Seccomp::Profile(profile) if !spec.privileged => {
                let filter = profile.filter(capabilities);
                let filter = filter.map_err(|error| Error::Refused(error.to_string()))?;
                (filter, profile.flags())
            }
            Seccomp::Default | Seccomp::Unconfined | Seccomp::Profile(_) => (String::new(), 0),
        };
        // After all that may be refused for what the container is.
        let devices = if spec.privileged {
            // They have the host's.
            cgroup::Devices::Inherit
        } else {
            cgroup::Devices::StandardAnd(rules)
        };
        let limits = cgroup::Limits {
            devices,
            ..spec.cgroup
        };
        let cgroups = self.make_cgroup(&limits, leaf)?;
        let process = Process {
            args: spec.args,
            env: spec.env,
            cwd: spec.cwd,
            user: spec.user,
            capabilities: capabilities.bits(),
            no_new_privileges: spec.no_new_privileges,
            seccomp: filter,
            terminal: spec.tty.then(TerminalSize::default),
            oom_score_adj: spec.oom_score_adj,
            ambient: spec.ambient.bits() & capabilities.bits(),
            seccomp_flags: flags,
            apparmor: spec.apparmor,
        };
        let root = root.filter(|_| passed.len() < MAX_DESCRIPTORS);
        let container = Container {
            name: spec.name,
            attempt: spec.attempt,
            id: spec.id,
            rootfs: spec.rootfs,
            mounts,
            process,
            masked_paths: spec.masked_paths,
            read_only_paths: spec.read_only_paths,
            privileged: spec.privileged,
            devices: nodes,
            pid: spec.pid,
            stdin: spec.stdin,
            stdin_once: spec.stdin_once,
            log_directory: spec.log_path.parent().is_some(),
            made_root: root.is_some(),
            log_path: spec.log_path,
            exit_path: spec.exit_path,
            cgroups,
        };
        passed.extend(root.map(|root| root.mount));
        Ok((container, passed))
    }

    /// A pod init of an earlier daemon would leave out what it does not know.
    fn check_version(&self, spec: &ContainerSpec) -> Result<(), Error> {
        let version = self.inner.version.get().copied().unwrap_or(VERSION);
        let of_today = spec.pid != PidMode::Sandbox
            || spec.stdin_once
            || spec.user.strict_groups
            || spec.ambient != Capabilities::NONE
            || spec.apparmor.is_some()
            || !spec.devices.is_empty();
        let is_of_today = |mount: &Mount| {
            mount.recursive_read_only
                || mount.restrictions != Restrictions::default()
                || mount.mapping.is_some()
                || matches!(mount.kind, MountKind::Image { .. })
        };
        if version < MOUNTS_AND_CONFINEMENT && (of_today || spec.mounts.iter().any(is_of_today)) {
            return Err(Error::Refused(
                "the pod's init is older than what the container asks for".to_owned(),
            ));
        }
        Ok(())
    }

    fn make_cgroup(&self, limits: &cgroup::Limits, leaf: &str) -> Result<Vec<CgroupDirectory>, Error> {
        let group = self.inner.group.as_ref().ok_or(Error::Gone)?;
        let failed = || cgroup_error("make a container's cgroup", self.id());
        let group = group.create_child(leaf, limits).map_err(failed())?;
        let membership = group.membership().map_err(failed())?;
        directories(&group, &membership).map_err(step("find a container's cgroup", self.id()))
    }
}

/// The group's directories, as the pod init joins, shows and removes them.
fn directories(group: &cgroup::Group, membership: &cgroup::Membership) -> io::Result<Vec<CgroupDirectory>> {
    let name = |directory: &Path| {
        let depth = group.relative_path().components().count();
        let mount = directory.ancestors().nth(depth).and_then(Path::file_name);
        mount
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let mut directories = Vec::new();
    for procs in &membership.v1 {
        let path = procs.parent().unwrap_or(procs).to_owned();
        directories.push(CgroupDirectory {
            controllers: name(&path),
            unified: false,
            path,
        });
    }
    if let Some(v2) = &membership.v2 {
        let path = fs_err::read_link(format!("/proc/self/fd/{}", v2.as_raw_fd()))?;
        let controllers = if directories.is_empty() {
            String::new()
        } else {
            name(&path)
        };
        directories.push(CgroupDirectory {
            controllers,
            unified: true,
            path,
        });
    }
    Ok(directories)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

pub(super) fn make_parent(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs_err::create_dir_all)
}
