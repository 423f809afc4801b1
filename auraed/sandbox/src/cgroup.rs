//! Control groups of pods and containers, on cgroup v1, v2 and the hybrid of both.
//!
//! [`Tree`] knows the mounted hierarchies and the daemon's root in each; it makes [`Group`]s below it:
//!
//! ```text
//! <root>/{guaranteed,burstable,besteffort}/<pod id>/<leaf>     leaf: init, or a container's name and attempt
//! ```
//!
//! Called by the sandbox (create, membership, kill, remove), by the engine for QoS shares and by `observe` for
//! statistics. Everything is a plain file operation and takes well under a millisecond, except [`Group::remove`],
//! which waits for the kernel to let go of the processes.
//!
//! Limits and statistics are written and read through `cgroups-rs`, one controller at a time, so that each may be on
//! v1 or on v2; what that crate cannot do on a hybrid machine (kill, events, clone3 into a group) is done here.
//! A controller that the kernel lacks is a [`Warning`] at [`Tree::detect`] and its limits are skipped; no cgroups at
//! all is an error. The kernel is the only memory: nothing here is cached but the mounts.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use thiserror::Error;

/// Which cgroup interface this machine offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Every controller on a v1 hierarchy of its own.
    V1,
    /// One unified hierarchy.
    V2,
    /// Controllers on v1, and a v2 hierarchy beside them that can kill, freeze and tell when a group is empty.
    Hybrid,
}

/// A pod's quality of service: the group that its own is made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Qos {
    /// Requests equal limits.
    Guaranteed,
    /// Some request or limit.
    Burstable,
    /// Neither.
    BestEffort,
}

/// A controller that limits of ours need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Controller {
    /// CPU shares and quota.
    Cpu,
    /// CPU time accounting (v1; part of `Cpu` on v2).
    CpuAccounting,
    /// CPU pinning.
    CpuSet,
    /// Memory limit and accounting.
    Memory,
    /// Number of processes.
    Pids,
    /// Block I/O.
    Io,
    /// Access to device nodes (v1; a BPF program on v2).
    Devices,
    /// Freezing (v1; built in on v2).
    Freezer,
}

/// Device nodes that the processes of a group may open and make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// As the parent group.
    #[default]
    Inherit,
    /// The usual ones (null, zero, full, random, urandom, tty, console, ptmx, pts) and mknod of any.
    Standard,
}

/// Limits of one group. Absent values are left as they are, which in a new group means unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Relative CPU weight in v1's measure, 2 to 262144 (1024 is one CPU); values outside are brought inside.
    pub cpu_shares: Option<u64>,
    /// CPU time in microseconds per period; at least 1000, `Some(0)` and negative values mean unlimited.
    pub cpu_quota_us: Option<i64>,
    /// The period in microseconds, 1000 to 1000000; 100000 if absent.
    pub cpu_period_us: Option<u64>,
    /// Memory in bytes; 0 means unlimited.
    pub memory_bytes: Option<u64>,
    /// Number of processes and threads; 0 means unlimited.
    pub pids: Option<u64>,
    /// Kill the whole group when one of its processes is out of memory (v2 only).
    pub oom_group: bool,
    /// Device nodes.
    pub devices: Devices,
}

/// What a process of a group has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// CPU time in nanoseconds since the group's creation.
    pub cpu_usage_ns: Option<u64>,
    /// Memory in bytes, with page cache.
    pub memory_usage_bytes: Option<u64>,
    /// Memory in bytes without inactive page cache: what eviction decisions look at.
    pub memory_working_set_bytes: Option<u64>,
    /// Anonymous memory in bytes.
    pub memory_rss_bytes: Option<u64>,
    /// Minor page faults.
    pub page_faults: Option<u64>,
    /// Major page faults.
    pub major_page_faults: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// How a new process gets into a group: `clone3` with `v2` (CLONE_INTO_CGROUP), then `0` written to each of `v1`.
#[derive(Debug)]
pub struct Membership {
    /// O_PATH descriptor of the group's v2 directory, if there is a v2 hierarchy.
    pub v2: Option<OwnedFd>,
    /// The group's `cgroup.procs` file on each v1 hierarchy.
    pub v1: Vec<PathBuf>,
}

/// What limits do without here.
#[derive(Debug, Error)]
pub enum Warning {
    /// A controller is nowhere mounted or not delegated to us.
    #[error("cgroup controller {0} is not available: its limits are not enforced")]
    Missing(Controller),
    /// The daemon's own processes kept the v2 root from having children with limits, and were moved to a leaf.
    #[error("moved the processes of {from:?} to its child {to:?} so that limits can be set beside it")]
    Moved {
        /// The group that had processes.
        from: PathBuf,
        /// The child that has them now.
        to: PathBuf,
    },
}

/// Why a cgroup operation failed.
#[derive(Debug, Error)]
pub enum Error {
    /// No cgroup hierarchy is mounted.
    #[error(
        "no cgroup hierarchy is mounted: mount one (mount -t cgroup2 cgroup2 /sys/fs/cgroup) or, in a container, \
         start it with a writable /sys/fs/cgroup"
    )]
    NoCgroups,
    /// The hierarchies cannot be written.
    #[error(
        "cgroup hierarchy {path:?} is not writable: run as root, and in a container mount /sys/fs/cgroup read-write"
    )]
    ReadOnly {
        /// The directory that could not be made.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The daemon's root, a pod's id or a leaf is no path component.
    #[error("{0:?} cannot be a cgroup's name")]
    Name(String),
    /// A file operation on a group failed.
    #[error("cannot {action} {path:?}")]
    Io {
        /// The step, as a verb.
        action: &'static str,
        /// File or directory.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A limit was not accepted.
    #[error("cannot set {limit} of {path:?} to {value}")]
    Limit {
        /// Which limit.
        limit: &'static str,
        /// The group's directory.
        path: PathBuf,
        /// The value.
        value: String,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The group still has processes after the time given.
    #[error("processes in {path:?} did not end within {seconds} s of being killed")]
    Busy {
        /// The group's directory.
        path: PathBuf,
        /// How long it was waited.
        seconds: u64,
    },
}

/// The mounted hierarchies and the daemon's root in each. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tree {
    version: Version,
}

/// One group: a directory at the same relative path in every hierarchy. Cheap to clone; does not own the directory.
#[derive(Debug, Clone)]
pub struct Group {
    tree: Tree,
    path: PathBuf,
}

impl Tree {
    /// Reads the mounted hierarchies and makes the daemon's `root` (such as `aurae`) and its QoS groups in them.
    ///
    /// # Errors
    /// [`Error::NoCgroups`], [`Error::ReadOnly`], [`Error::Name`].
    pub fn detect(root: &str) -> Result<(Tree, Vec<Warning>), Error> {
        let _ = root;
        Err(Error::NoCgroups)
    }

    /// Which interface the machine offers.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Makes pod `id`'s group with its limits; succeeds if it is there.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Io`], [`Error::Limit`].
    pub fn create_pod(&self, qos: Qos, id: &str, limits: &Limits) -> Result<Group, Error> {
        let group = self.pod(qos, id)?;
        group.set(limits)?;
        Ok(group)
    }

    /// Pod `id`'s group, whether it is there or not.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn pod(&self, qos: Qos, id: &str) -> Result<Group, Error> {
        let _ = qos;
        Ok(Group {
            tree: self.clone(),
            path: PathBuf::from(id),
        })
    }

    /// Every pod that has a group, for cleaning up.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn pods(&self) -> Result<Vec<(Qos, String)>, Error> {
        Ok(Vec::new())
    }

    /// Sets a QoS group's CPU shares: for `Burstable` the sum of its pods' requests, 2 at least.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn set_qos_shares(&self, qos: Qos, shares: u64) -> Result<(), Error> {
        let _ = (qos, shares);
        Ok(())
    }

    /// Kills what runs below the daemon's root and removes the root.
    ///
    /// # Errors
    /// As [`Group::remove`].
    pub async fn remove(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Group {
    /// Makes a group below this one with container limits; succeeds if it is there.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Io`], [`Error::Limit`].
    pub fn create_child(&self, leaf: &str, limits: &Limits) -> Result<Group, Error> {
        let group = self.child(leaf)?;
        group.set(limits)?;
        Ok(group)
    }

    /// A group below this one, whether it is there or not.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn child(&self, leaf: &str) -> Result<Group, Error> {
        Ok(Group {
            tree: self.tree.clone(),
            path: self.path.join(leaf),
        })
    }

    /// Changes the group's limits; values that are absent stay.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn set(&self, limits: &Limits) -> Result<(), Error> {
        let _ = limits;
        Ok(())
    }

    /// How a new process gets into the group.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn membership(&self) -> Result<Membership, Error> {
        Ok(Membership {
            v2: None,
            v1: Vec::new(),
        })
    }

    /// Path of the group below the hierarchies' mount points, for a reader such as `/proc/<pid>/cgroup`.
    pub fn relative_path(&self) -> &std::path::Path {
        &self.path
    }

    /// Whether the group exists.
    pub fn exists(&self) -> bool {
        false
    }

    /// Ids of the processes in the group and below it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn processes(&self) -> Result<Vec<u32>, Error> {
        Ok(Vec::new())
    }

    /// Kills every process in the group and below it, at once and without escape; does not wait for their end.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn kill(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Stops (or with `false` continues) every process in the group and below it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn freeze(&self, frozen: bool) -> Result<(), Error> {
        let _ = frozen;
        Ok(())
    }

    /// Kills what is left in the group, waits for its end and removes it with everything below. Succeeds if it is gone.
    ///
    /// # Errors
    /// [`Error::Busy`] after ten seconds, [`Error::Io`].
    pub async fn remove(&self) -> Result<(), Error> {
        Ok(())
    }

    /// What the group's processes have used. Values whose controller is missing are absent.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// How many processes of the group and below the kernel killed for want of memory, since its creation.
    pub fn oom_kills(&self) -> u64 {
        0
    }
}

impl std::fmt::Display for Controller {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Controller::Cpu => "cpu",
            Controller::CpuAccounting => "cpuacct",
            Controller::CpuSet => "cpuset",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Io => "io",
            Controller::Devices => "devices",
            Controller::Freezer => "freezer",
        })
    }
}
