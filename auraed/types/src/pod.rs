//! A pod as its owner wants it, checked.
//!
//! [`Pod`] comes from the wire message by `TryFrom` (module `decode`) and goes back by `From` (module `encode`); the two
//! are inverse for every valid pod. [`Pod::redacted`] is what may be written to a disk.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::id::{ContainerName, Namespace, PodId, PodName, VolumeName};
use crate::qos::QosClass;
use crate::secret::{Secret, SecretBytes};

mod container;
mod decode;
mod decode_container;
mod encode;
mod probe;
mod redact;
#[cfg(test)]
mod tests;

pub use container::{
    Container, EnvironmentSource, EnvironmentVariable, MountPropagation, PodField, Port, Protocol,
    PullPolicy, Resources, Seccomp, Security, TerminationMessagePolicy, VolumeMount,
};
pub use decode::check_files;
pub use probe::{Handler, HttpGet, Probe};

/// The grace period of a pod that names none.
pub const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(30);
/// Where the termination message is where a container names no place.
pub const DEFAULT_TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";

/// Containers that share a sandbox, as their owner wants them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Unique on the node.
    pub id: PodId,
    /// Its name; two pods of one namespace may have the same while the older one ends.
    pub name: PodName,
    /// Its namespace.
    pub namespace: Namespace,
    /// Free for the owner's use.
    pub labels: BTreeMap<String, String>,
    /// Free for the owner's use.
    pub annotations: BTreeMap<String, String>,
    /// The owner's version of this object.
    pub generation: i64,
    /// Run in order before the others; sidecars among them go on running.
    pub init_containers: Vec<Container>,
    /// At least one.
    pub containers: Vec<Container>,
    /// Named storage, mounted by containers.
    pub volumes: Vec<Volume>,
    /// When an ended container is started again.
    pub restart_policy: RestartPolicy,
    /// How long a stop waits before it kills.
    pub grace_period: Duration,
    /// The pod fails this long after its start.
    pub active_deadline: Option<Duration>,
    /// The host name inside, at most 63 characters; already filled in from the name where none was given.
    pub hostname: String,
    /// The fully qualified name for /etc/hosts.
    pub fqdn: Option<String>,
    /// Live in the node's network namespace.
    pub host_network: bool,
    /// See the node's processes.
    pub host_pid: bool,
    /// Share the node's System V IPC and POSIX queues.
    pub host_ipc: bool,
    /// One PID namespace for all containers.
    pub share_process_namespace: bool,
    /// What /etc/resolv.conf says.
    pub dns: Dns,
    /// More lines for /etc/hosts.
    pub host_aliases: Vec<HostAlias>,
    /// Kernel parameters, names as in /proc/sys with dots.
    pub sysctls: BTreeMap<String, String>,
    /// A group that owns the volumes and that every process is in.
    pub fs_group: Option<u32>,
    /// Who to be at registries.
    pub credentials: Vec<RegistryCredentials>,
    /// Who gave this pod.
    pub source: String,
}

/// When an ended container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// However it ended.
    Always,
    /// If its exit code was not 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// What /etc/resolv.conf of a pod says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Servers, in the order they are asked.
    pub nameservers: Vec<IpAddr>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Resolver options, as `ndots:5`.
    pub options: Vec<String>,
    /// Begin with the node's own resolv.conf.
    pub include_host: bool,
}

/// Names for one address in /etc/hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAlias {
    /// The address.
    pub address: IpAddr,
    /// Its names, at least one.
    pub names: Vec<String>,
}

/// Storage that containers mount.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Unique in the pod.
    pub name: VolumeName,
    /// Where its content comes from.
    pub source: VolumeSource,
}

/// Where a volume's content comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum VolumeSource {
    /// Empty at first, gone with the pod.
    EmptyDirectory {
        /// In memory (tmpfs).
        memory: bool,
        /// The most it may hold, in bytes.
        size_limit: Option<u64>,
    },
    /// A path of the node.
    HostPath {
        /// Absolute.
        path: String,
        /// What must be there.
        kind: HostPathType,
    },
    /// Content given by the owner.
    Files(Files),
}

/// What must be at a host path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPathType {
    /// No check; a missing directory is made.
    Unchecked,
    /// A directory, made if missing.
    DirectoryOrCreate,
    /// A directory.
    Directory,
    /// A file, made if missing; its directory must exist.
    FileOrCreate,
    /// A file.
    File,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

/// A volume's content, replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    /// Paths are unique, and none is a directory of another.
    pub files: Vec<File>,
    /// Kept in memory-backed files alone.
    pub sensitive: bool,
}

/// One file of a volume.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Relative; no component is empty, `.` or `..`, and the first does not begin with `..`.
    pub path: String,
    /// The whole content.
    pub content: SecretBytes,
    /// Permission bits, 0 to 0o777.
    pub mode: u32,
    /// The owning user; root if absent.
    pub owner: Option<u32>,
}

/// Who to be at one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryCredentials {
    /// host[:port] with an optional path; empty fits every registry.
    pub registry: String,
    /// The user's name.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// Instead of both, an OAuth2 refresh token.
    pub identity_token: Secret,
    /// Instead of all of them, a token for the registry itself.
    pub registry_token: Secret,
}

impl Pod {
    /// `namespace/name`, for people.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// `name_namespace(id)`, as messages about restarts name a pod.
    pub fn log_name(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.id)
    }

    /// The directory below the log directory that holds this pod's logs.
    pub fn log_directory_name(&self) -> String {
        format!("{}_{}_{}", self.namespace, self.name, self.id)
    }

    /// Init containers first, then the others, in their order.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.all_containers().find(|container| container.name == *name)
    }

    /// The volume of that name.
    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.name == *name)
    }

    /// Which class of service its requests and limits put it in.
    pub fn qos_class(&self) -> QosClass {
        QosClass::of(self)
    }

    /// Ports of the node that shall reach into the pod.
    pub fn host_ports(&self) -> impl Iterator<Item = (&ContainerName, &Port)> {
        self.all_containers()
            .flat_map(|container| container.ports.iter().map(move |port| (&container.name, port)))
            .filter(|(_, port)| port.host_port.is_some())
    }

    /// The wire message without any secret value: what may be written to a disk.
    pub fn redacted(&self) -> auraed_api::schedule::v0::Pod {
        let mut message = auraed_api::schedule::v0::Pod::from(self);
        redact::redact(&mut message);
        message
    }

    /// Whether [`Pod::redacted`] takes anything away, so that the pod cannot be run from it.
    pub fn holds_secrets(&self) -> bool {
        !self.credentials.is_empty()
            || self
                .all_containers()
                .any(|container| container.env.iter().any(|variable| variable.sensitive))
            || self
                .volumes
                .iter()
                .any(|volume| matches!(&volume.source, VolumeSource::Files(files) if files.sensitive))
    }
}

impl Port {
    /// The address of the node that a host port is mapped on; absent means all.
    pub fn host_ipv4(&self) -> Option<Ipv4Addr> {
        match self.host_address {
            Some(IpAddr::V4(address)) if !address.is_unspecified() => Some(address),
            _ => None,
        }
    }
}
