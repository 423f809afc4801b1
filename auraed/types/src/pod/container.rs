//! A container as its owner wants it.

use std::net::IpAddr;

use super::probe::{Handler, Probe};
use crate::id::{ContainerName, VolumeName};
use crate::secret::Secret;

/// One container of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Unique among all containers of the pod.
    pub name: ContainerName,
    /// The image reference as given; whether it can be parsed is seen when it is pulled.
    pub image: String,
    /// When to ask the registry.
    pub pull_policy: PullPolicy,
    /// Replaces the image's entrypoint, and with it its default arguments.
    pub command: Vec<String>,
    /// Replaces the image's default arguments.
    pub args: Vec<String>,
    /// Absolute; absent means the image's.
    pub working_directory: Option<String>,
    /// In order; later entries of a name win.
    pub env: Vec<EnvironmentVariable>,
    /// Volumes to mount.
    pub mounts: Vec<VolumeMount>,
    /// Requests and limits.
    pub resources: Resources,
    /// Who it runs as and what it may do.
    pub security: Security,
    /// A terminal for the main process.
    pub tty: bool,
    /// Keep standard input open.
    pub stdin: bool,
    /// Standard input ends with the first client that attached to it; without a terminal.
    pub stdin_once: bool,
    /// Absolute path of the termination message inside.
    pub termination_message_path: String,
    /// Where the termination message comes from.
    pub termination_message_policy: TerminationMessagePolicy,
    /// Ports it listens on.
    pub ports: Vec<Port>,
    /// An init container that starts in order and then runs beside the others. Never set on an ordinary container.
    pub sidecar: bool,
    /// Tells when it has started.
    pub startup_probe: Option<Probe>,
    /// Tells when it can serve.
    pub readiness_probe: Option<Probe>,
    /// Tells when it must be restarted.
    pub liveness_probe: Option<Probe>,
    /// Runs right after its start.
    pub post_start: Option<Handler>,
    /// Runs before it is stopped.
    pub pre_stop: Option<Handler>,
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// If it is not on the node.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentVariable {
    /// Not empty, without `=` and NUL.
    pub name: String,
    /// Where the value comes from.
    pub source: EnvironmentSource,
    /// The value never reaches the disk in clear.
    pub sensitive: bool,
}

/// Where an environment variable's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvironmentSource {
    /// As it is.
    Value(Secret),
    /// `$(NAME)` is replaced.
    Template(Secret),
    /// A fact of the sandbox.
    Field(PodField),
}

/// A fact known only once the sandbox runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodField {
    /// The first address.
    Address,
    /// All addresses, joined with commas.
    Addresses,
}

/// A volume's place in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    /// A volume of the pod.
    pub volume: VolumeName,
    /// Absolute path inside.
    pub path: String,
    /// Mounted so that nothing can be written.
    pub read_only: bool,
    /// Only this part of the volume; `$(NAME)` in it is expanded. Relative, without `..`.
    pub sub_path: Option<String>,
    /// Whether later mounts pass between node and container.
    pub propagation: MountPropagation,
}

/// Whether later mounts pass between node and container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountPropagation {
    /// No.
    Private,
    /// From the node.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// Requests order, limits bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Share of the processors that it asks for, in thousandths of one.
    pub cpu_request: Option<u64>,
    /// The most of the processors that it gets, in thousandths of one.
    pub cpu_limit: Option<u64>,
    /// Bytes of memory that it asks for.
    pub memory_request: Option<u64>,
    /// Bytes of memory that it may use.
    pub memory_limit: Option<u64>,
    /// Processes and threads that it may have.
    pub pids_limit: Option<u64>,
}

/// Who a container runs as and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Instead of the image's user.
    pub run_as_user: Option<u32>,
    /// Instead of the user's group.
    pub run_as_group: Option<u32>,
    /// Refuse to run as root.
    pub run_as_non_root: bool,
    /// More groups.
    pub supplemental_groups: Vec<u32>,
    /// Upper-case names without `CAP_`; `ALL` is understood.
    pub add_capabilities: Vec<String>,
    /// The same.
    pub drop_capabilities: Vec<String>,
    /// No confinement.
    pub privileged: bool,
    /// The image's files cannot be written.
    pub read_only_root: bool,
    /// no_new_privs, prctl(2).
    pub no_new_privileges: bool,
    /// Which system calls are let through.
    pub seccomp: Seccomp,
    /// Show /proc whole.
    pub unmasked_proc: bool,
}

/// Which system calls are let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// The daemon's default filter.
    #[default]
    Default,
    /// All.
    Unconfined,
}

/// A port a container listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// May be empty.
    pub name: String,
    /// Not 0.
    pub container_port: u16,
    /// The node's port that reaches it.
    pub host_port: Option<u16>,
    /// The node's address that it is mapped on; absent means all.
    pub host_address: Option<IpAddr>,
    /// Its transport.
    pub protocol: Protocol,
}

/// Transport protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

/// Where the termination message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminationMessagePolicy {
    /// The file alone.
    File,
    /// The end of the log where the file is empty and the container failed.
    FallbackToLogsOnError,
}
