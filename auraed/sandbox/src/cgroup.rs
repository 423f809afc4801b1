//! Control groups of pods and containers, on cgroup v1, v2 and the hybrid of both.
//!
//! [`Tree`] knows the mounted hierarchies and the daemon's root in each; it makes [`Group`]s below it:
//!
//! ```text
//! <root>/{guaranteed,burstable,besteffort}/<pod id>/<leaf>     leaf: init, or a container's name and attempt
//! <parent>/<pod id>/<leaf>                                     where a caller has a place of its own for a pod
//! ```
//!
//! A parent is as the caller sees it: below the mount point of each hierarchy, whatever the daemon's root is. So a kubelet
//! and the daemon must see the same mounts, in the same cgroup namespace, which they do on a node and in one container.
//!
//! Called by the sandbox (create, membership, kill, remove), by the engine for QoS shares and by `observe` for
//! statistics. Everything is a plain file operation and takes well under a millisecond, except [`Group::remove`],
//! which waits for the kernel to let go of the processes.
//!
//! Limits of CPU, memory and processes are written through `cgroups-rs`, one controller at a time, so that each may be on
//! v1 or on v2; what that crate cannot do on a hybrid machine (kill, events, clone3 into a group) is done here. A
//! controller that the kernel lacks is a [`Warning`] at [`Tree::detect`] and its limits are skipped, unless the caller
//! insists ([`Limits::strict`]); no cgroups at all is an error. The kernel is the only memory: nothing is kept here but
//! where the hierarchies are mounted.

mod devices;
mod files;
mod group;
mod limits;
mod mounts;
mod parent;
mod remove;
mod stats;
mod tree;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use devices::DeviceRule;
pub use group::{Group, Membership};
pub use limits::{Devices, Limits};
pub use parent::Record;
pub use stats::{Pressure, PressureLine, Stats};
pub use tree::Tree;

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

/// Where a pod's group is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Below the daemon's root, in the group of its class.
    Qos(Qos),
    /// In this group, absolute as below each hierarchy's mount point: `/kubepods/burstable/pod1234`. Made if missing, and
    /// removed when it is empty again.
    Below(String),
}

impl From<Qos> for Placement {
    fn from(qos: Qos) -> Self {
        Placement::Qos(qos)
    }
}

/// What the kernel does for a group of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Controller {
    /// CPU shares.
    Cpu,
    /// CPU quota; part of `cpu` that a kernel may lack.
    CpuQuota,
    /// CPU time accounting; built in on v2.
    CpuAccounting,
    /// Memory limit and accounting.
    Memory,
    /// Number of processes.
    Pids,
    /// Access to device nodes; a BPF program on v2.
    Devices,
    /// Stopping and killing all at once; built in on v2.
    Freezer,
    /// CPUs and memory nodes.
    Cpuset,
    /// Huge pages.
    HugePages,
    /// Block devices; of v2 alone, for callers that write its files.
    Io,
}

/// What limits do without here.
#[derive(Debug, Error)]
pub enum Warning {
    /// A controller is nowhere mounted, not delegated to us, or not in the kernel.
    #[error("cgroup controller {controller} is not available: {}", .controller.loss())]
    Missing {
        /// Which one.
        controller: Controller,
        /// Why, if it is there but cannot be used.
        #[source]
        source: Option<io::Error>,
    },
    /// Processes kept the v2 root from having children with limits, and were moved to a child of their own.
    #[error("moved the processes of {from:?} to {to:?}, so that limits can be set beside them")]
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
        "no cgroup hierarchy is mounted: mount one (mount -t cgroup2 cgroup2 /sys/fs/cgroup); a container needs a \
         writable /sys/fs/cgroup from its host"
    )]
    NoCgroups,
    /// The hierarchies cannot be written.
    #[error(
        "cannot make groups in {path:?}: run as root; a container needs a writable /sys/fs/cgroup from its host"
    )]
    NotWritable {
        /// The first directory that could not be made.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<Error>,
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
    /// A limit was asked for, and the kernel lacks what keeps it.
    #[error("cannot set {limit}: cgroup controller {controller} is not available")]
    Missing {
        /// Which limit.
        limit: &'static str,
        /// What it needs.
        controller: Controller,
    },
    /// A file of v2 does not take a value.
    #[error("cannot set {file} of cgroup v2 to {value:?}")]
    Unified {
        /// Its name.
        file: String,
        /// The value.
        value: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A limit makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The group still has processes after the time given.
    #[error("processes in cgroup {path:?} did not end within {seconds} s of being killed")]
    Busy {
        /// The group's path.
        path: PathBuf,
        /// How long it was waited.
        seconds: u64,
    },
}

impl Error {
    /// Whether another limit would have done: it is not the machine that is broken.
    pub fn is_of_a_limit(&self) -> bool {
        matches!(
            self,
            Error::Invalid(_) | Error::Missing { .. } | Error::Unified { .. } | Error::Limit { .. }
        )
    }

    /// The error and what is behind it, in one sentence.
    pub(crate) fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

impl Qos {
    const ALL: [Qos; 3] = [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort];

    fn directory(self) -> &'static str {
        match self {
            Qos::Guaranteed => "guaranteed",
            Qos::Burstable => "burstable",
            Qos::BestEffort => "besteffort",
        }
    }
}

impl Controller {
    const NEEDED: [Controller; 6] = [
        Controller::Cpu,
        Controller::CpuAccounting,
        Controller::Memory,
        Controller::Pids,
        Controller::Devices,
        Controller::Freezer,
    ];

    /// Whether v2 wants it in `cgroup.subtree_control`; the others are built in.
    fn is_delegated(self) -> bool {
        matches!(
            self,
            Controller::Cpu
                | Controller::Memory
                | Controller::Pids
                | Controller::Cpuset
                | Controller::HugePages
                | Controller::Io
        )
    }

    /// The kernel's name.
    fn name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::CpuQuota => "cpu quota",
            Controller::CpuAccounting => "cpuacct",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Devices => "devices",
            Controller::Freezer => "freezer",
            Controller::Cpuset => "cpuset",
            Controller::HugePages => "hugetlb",
            Controller::Io => "io",
        }
    }

    fn loss(self) -> &'static str {
        match self {
            Controller::Cpu => "CPU requests and limits are not enforced",
            Controller::CpuQuota => "CPU limits are not enforced",
            Controller::CpuAccounting => "CPU usage is not known",
            Controller::Memory => "memory limits are not enforced and memory usage is not known",
            Controller::Pids => "the number of processes is not limited",
            Controller::Devices => "containers may open any device node that they can make",
            Controller::Freezer => "a group's processes are killed one by one",
            Controller::Cpuset => "CPUs and memory nodes cannot be chosen",
            Controller::HugePages => "huge pages are not limited",
            Controller::Io => "block devices are not limited",
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The closure for `map_err` that tells what was done to which file.
fn io_error<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests;
