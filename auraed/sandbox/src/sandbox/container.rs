//! A container as the engine wants it, and how its start can fail.

use std::path::PathBuf;
use std::sync::Arc;

pub use auraed_pod_init::protocol::Mount;
use auraed_pod_init::protocol::{PidMode, Rootfs, User};

use super::Error;
use crate::capability::Capabilities;
use crate::{cgroup, seccomp};

/// A container to start.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// Unique in the pod.
    pub name: String,
    /// Counts the runs of this name, from 0.
    pub attempt: u32,
    /// Unique everywhere.
    pub id: String,
    /// Its root file system.
    pub rootfs: Rootfs,
    /// In order. /proc, /sys, /dev, /dev/shm and the like are there already.
    pub mounts: Vec<Mount>,
    /// The program and its arguments; at least one.
    pub args: Vec<String>,
    /// `NAME=value`, later ones win. PATH, HOME and HOSTNAME are set where they are missing.
    pub env: Vec<String>,
    /// Absolute; empty means `/`. Made if missing.
    pub cwd: String,
    /// Whom to run as.
    pub user: User,
    /// What root in the container may do. `privileged` has all of them, whatever is here.
    pub capabilities: Capabilities,
    /// What a user who is not root keeps when a program is executed; only of `capabilities`.
    pub ambient: Capabilities,
    /// Never gain privileges by executing a file.
    pub no_new_privileges: bool,
    /// Which system calls are refused. `privileged` has no filter, whatever is here.
    pub seccomp: Seccomp,
    /// The AppArmor profile to be confined by; none leaves the container as the daemon is. Refused on a kernel without it.
    pub apparmor: Option<String>,
    /// All capabilities and devices, no filter, no masks, a writable /sys.
    pub privileged: bool,
    /// Device nodes of the host, beside those that every container has.
    pub devices: Vec<Device>,
    /// Absolute paths to hide: [`default_masked_paths`] unless the spec says otherwise. Ignored when privileged.
    pub masked_paths: Vec<String>,
    /// Absolute paths to make read-only: [`default_read_only_paths`] unless the spec says otherwise. Ignored when
    /// privileged.
    pub read_only_paths: Vec<String>,
    /// A terminal for the standard streams.
    pub tty: bool,
    /// Keep standard input open for [`Sandbox::attach`](super::Sandbox::attach); else it is /dev/null.
    pub stdin: bool,
    /// Standard input ends with the first client that attached to it. Without effect on a terminal.
    pub stdin_once: bool,
    /// Whose process ids it sees.
    pub pid: PidMode,
    /// The log file, whose directory is made if missing; empty: no log.
    pub log_path: PathBuf,
    /// Where the exit is recorded ([`read_exit_record`](crate::read_exit_record)); its directory is made if missing.
    pub exit_path: PathBuf,
    /// What it may use.
    pub cgroup: cgroup::Limits,
    /// -1000 to 1000. Lowering it may be refused by the kernel: then it stays as it is.
    pub oom_score_adj: i32,
}

/// Device nodes for a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// A device node of the host, or a directory: then every device node below it.
    pub host_path: PathBuf,
    /// Absolute, where it is in the container.
    pub container_path: String,
    /// Of `r`, `w` and `m`: open for reading, for writing, make the node.
    pub permissions: String,
    /// User and group instead of the host's.
    pub owner: Option<(u32, u32)>,
    /// Permission bits instead of the host's.
    pub mode: Option<u32>,
    /// What it is, where the host needs no node of it.
    pub number: Option<DeviceNumber>,
}

/// A device by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNumber {
    /// A block device; else a character device.
    pub block: bool,
    /// The upper part.
    pub major: u32,
    /// The lower part.
    pub minor: u32,
}

/// Which system calls are refused.
#[derive(Debug, Clone, Default)]
pub enum Seccomp {
    /// Those that the usual container profiles refuse ([`crate::seccomp`]).
    #[default]
    Default,
    /// None.
    Unconfined,
    /// Those that this profile refuses.
    Profile(Arc<seccomp::Profile>),
}

/// Why a container did not start. It has run then, for nobody: attempt it anew with the next number.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The container is to blame: no such program, user or path. Kubernetes calls this `StartError`, exit code 128.
    #[error("{0}")]
    Refused(String),
    /// The sandbox is to blame.
    #[error("cannot start the container")]
    Sandbox(#[source] Error),
}

/// The paths of /proc and /sys that containers do not see.
pub fn default_masked_paths() -> Vec<String> {
    [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ]
    .map(str::to_owned)
    .into()
}

/// The paths of /proc that containers cannot write.
pub fn default_read_only_paths() -> Vec<String> {
    [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ]
    .map(str::to_owned)
    .into()
}
