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

mod connection;
mod container;
mod devices;
mod exec;
mod launch;
mod leftovers;
mod mounts;
mod placement;
mod root;
mod start;
mod sysctl;
mod user_namespace;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use auraed_pod_init::protocol::{Call, Reply};
use rustix::fs::{Mode, OFlags};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use auraed_pod_init::protocol::{
    ContainerRun, IdMapping, IdMappings, MountKind, PidMode, Propagation, ResolvedUser, Restrictions, Rootfs,
    RunState, TerminalSize, Tmpfs, User,
};

use self::connection::Connection;
pub use self::container::{
    ContainerSpec, Device, DeviceNumber, Mount, Seccomp, StartError, default_masked_paths,
    default_read_only_paths,
};
pub use self::exec::{Attachment, Exec, ExecSpec};
pub use self::leftovers::{Leftovers, end_sandbox, read_exit_record, remove_leftovers};
pub use self::mounts::check_mounts;
pub(crate) use self::root::Room;
pub use self::root::Root;
pub use self::user_namespace::UserNamespace;
use crate::{Host, cgroup};

/// How long a pod init may take to kill and record everything, before it is killed itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// All classes that a pod's cgroup can be found in.
const CLASSES: [cgroup::Qos; 3] = [
    cgroup::Qos::Guaranteed,
    cgroup::Qos::Burstable,
    cgroup::Qos::BestEffort,
];

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
    /// Where its cgroup is made.
    pub placement: cgroup::Placement,
    /// Volumes in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// What its containers are in, and what its own namespaces belong to: also `network` must have been made for it. None: the
    /// node's user namespace.
    pub user_namespace: Option<UserNamespace>,
    /// Move full log files away, as the host's configuration says. Else somebody else does it and calls
    /// [`Sandbox::reopen_log`].
    pub rotate_logs: bool,
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
    /// A pod init of this id runs already: adopt it.
    #[error("a sandbox of this id is running")]
    Exists,
    /// What was asked cannot be done in this container.
    #[error("{0}")]
    Refused(String),
    /// The pod init could not do it.
    #[error("the pod's init failed: {0}")]
    Init(String),
    /// The cgroups do not do as they are told.
    #[error("cannot {step} of pod {id}")]
    Cgroup {
        /// What was to be done.
        step: &'static str,
        /// The sandbox.
        id: String,
        /// Why.
        #[source]
        source: cgroup::Error,
    },
    /// A step in the daemon failed.
    #[error("cannot {step} of pod {id}")]
    Step {
        /// What was to be done.
        step: &'static str,
        /// The sandbox.
        id: String,
        /// Why.
        #[source]
        source: io::Error,
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
    host: Host,
    directory: PathBuf,
    /// None if it was not there when the sandbox was adopted.
    group: Option<cgroup::Group>,
    init_pid: u32,
    handle: Arc<OwnedFd>,
    connection: Arc<Connection>,
    task: JoinHandle<()>,
    /// Of the pod init's protocol; unset until it has told.
    version: OnceLock<u32>,
    /// The user namespace whose mapping a mount had last, for the next one's.
    mapped: Mutex<Option<UserNamespace>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What happens in a sandbox, in order. Ends when its pod init ends.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::UnboundedReceiver<SandboxEvent>,
    /// Keeps the connection.
    _sandbox: Sandbox,
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
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::Refused`] if the pod is to blame (a sysctl, a hostname); else the step that failed.
    pub async fn create(host: &Host, spec: SandboxSpec) -> Result<(Self, Events), Error> {
        launch::create(host, spec).await
    }

    /// Connects to the pod init that an earlier daemon made, and asks it for the newest run of each container. `None`: there
    /// is none (any more).
    ///
    /// # Errors
    /// If its directory cannot be looked at, or it does not answer.
    pub async fn adopt(host: &Host, id: &str) -> Result<Option<(Self, Events, Vec<ContainerRun>)>, Error> {
        let directory = host.pod_directory(id);
        let failed = || launch::step("connect to the init", id);
        let Some((socket, pid, handle)) = launch::connect_to(&directory).map_err(failed())? else {
            return Ok(None);
        };
        let handle = Arc::new(handle);
        let (connection, receiver, task) = Connection::start(socket, Arc::clone(&handle)).map_err(failed())?;
        let group = placement::find(host, id);
        let init_pid = pid.as_raw_nonzero().get().unsigned_abs();
        let inner = Inner {
            id: id.to_owned(),
            host: host.clone(),
            directory,
            group,
            init_pid,
            handle,
            connection,
            task,
            version: OnceLock::new(),
            mapped: Mutex::default(),
        };
        let sandbox = Self {
            inner: Arc::new(inner),
        };
        match sandbox.first_status().await {
            Ok(runs) => Ok(Some((
                sandbox.clone(),
                Events {
                    receiver,
                    _sandbox: sandbox,
                },
                runs,
            ))),
            Err(Error::Gone) => sandbox.wait_for_end().await.map(|()| None),
            Err(error) => Err(error),
        }
    }

    /// Events first: what happens after the status is told, what happened before is in it.
    async fn first_status(&self) -> Result<Vec<ContainerRun>, Error> {
        self.call(Call::Subscribe).await?;
        match self.inner.connection.call(Call::Status, Vec::new()).await? {
            (Reply::Status { version, runs }, _) => {
                let _ = self.inner.version.set(version);
                Ok(runs)
            }
            _ => Err(Error::Init(
                "it gave another answer than was asked for".to_owned(),
            )),
        }
    }

    /// A pod init that does not talk must have ended: another one beside it would be a second pod.
    async fn wait_for_end(&self) -> Result<(), Error> {
        let ended = connection::wait_for_end(&self.inner.handle);
        match tokio::time::timeout(connection::PATIENCE, ended).await {
            Ok(result) => result.map_err(launch::step("wait for the end of the init", self.id())),
            Err(_) => Err(Error::Init("it runs and does not answer".to_owned())),
        }
    }

    /// The sandbox's id.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The pod init's process id, as the daemon sees it.
    pub fn init_pid(&self) -> u32 {
        self.inner.init_pid
    }

    /// The network namespace that the sandbox's containers are in, as long as its pod init runs.
    ///
    /// # Errors
    /// If the pod init has ended, or there are too many open files.
    pub fn network_namespace(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/{}/ns/net", self.init_pid());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = rustix::fs::open(path, flags, Mode::empty())?;
        // It still runs, so that the number was its own when the file was opened.
        if connection::has_ended(&self.inner.handle)? {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the pod's init has ended",
            ));
        }
        Ok(namespace)
    }

    /// The pod's cgroup, for limits and statistics. `None`: it was gone when the sandbox was adopted.
    pub fn cgroup(&self) -> Option<&cgroup::Group> {
        self.inner.group.as_ref()
    }

    /// The cgroup of a container's newest run. `None`: there is none (any more).
    pub fn container_cgroup(&self, container: &str) -> Option<cgroup::Group> {
        self.cgroup()?.newest_child(container)
    }

    /// Changes the limits of a running container; values that are absent stay.
    ///
    /// # Errors
    /// [`Error::NotRunning`] if it has no cgroup (any more), [`Error::Refused`] if the kernel does not take a value.
    pub async fn update(&self, container: &str, limits: &cgroup::Limits) -> Result<(), Error> {
        let group = self.container_cgroup(container).ok_or(Error::NotRunning)?;
        let limits = limits.clone();
        let set = tokio::task::spawn_blocking(move || group.set(&limits));
        set.await.map_err(|_| Error::Gone)?.map_err(launch::cgroup_error(
            "change the limits of a container",
            self.id(),
        ))
    }

    /// The source path of a volume in memory: only the sandbox's own containers see the volume there.
    pub fn tmpfs_path(&self, volume: &str) -> PathBuf {
        self.inner.directory.join(launch::MEMORY).join(volume)
    }

    /// Signals a container's main process.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Gone`], [`Error::Refused`] for a number that is no signal.
    pub async fn signal(&self, container: &str, signal: i32) -> Result<(), Error> {
        self.call(Call::Signal {
            container: container.to_owned(),
            signal,
            all: false,
        })
        .await
    }

    /// SIGKILL to every process of a container.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Gone`].
    pub async fn kill(&self, container: &str) -> Result<(), Error> {
        let signal = rustix::process::Signal::KILL.as_raw();
        self.call(Call::Signal {
            container: container.to_owned(),
            signal,
            all: true,
        })
        .await
    }

    /// Lets the container see the end of its standard input.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Gone`].
    pub async fn close_stdin(&self, container: &str) -> Result<(), Error> {
        self.call(Call::CloseInput {
            container: container.to_owned(),
        })
        .await
    }

    /// Sets the size of a container's terminal.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Gone`], [`Error::Refused`] without a terminal.
    pub async fn resize(&self, container: &str, size: TerminalSize) -> Result<(), Error> {
        self.call(Call::Resize {
            container: container.to_owned(),
            size,
        })
        .await
    }

    /// Begins a container's log file anew, after somebody moved it away.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Gone`].
    pub async fn reopen_log(&self, container: &str) -> Result<(), Error> {
        self.call(Call::ReopenLog {
            container: container.to_owned(),
        })
        .await
    }

    /// Kills everything, reaps it, removes the cgroups and what this crate has put into the run directory. Containers that
    /// ran have their exits recorded and their last output logged. Succeeds if the pod init has ended already.
    ///
    /// # Errors
    /// If processes do not end (they hang in the kernel), or the cgroups stay.
    pub async fn destroy(self) -> Result<(), Error> {
        match tokio::time::timeout(PATIENCE, self.call(Call::Shutdown)).await {
            Ok(Ok(()) | Err(Error::Gone)) => {}
            Ok(Err(error)) => tracing::warn!(pod = self.id(), %error, "a pod init does not shut down"),
            Err(_) => tracing::warn!(pod = self.id(), "a pod init takes too long to shut down"),
        }
        launch::end(&self.inner.handle).await;
        let removed = placement::remove(&self.inner.host, self.id()).await;
        launch::remove(&self.inner.host, self.id()).await;
        removed.map_err(launch::cgroup_error("remove the cgroup", self.id()))
    }

    async fn call(&self, call: Call) -> Result<(), Error> {
        self.inner.connection.call(call, Vec::new()).await.map(drop)
    }
}
