//! The front of the engine: finds pods, hands commands to their drivers, answers from what they published.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use auraed_image::{Image, Store};
use auraed_sandbox::network::Network;
use auraed_sandbox::{Host, Sandbox};
use auraed_state::State;
use auraed_types::event::Step;
use auraed_types::pod::Files;
use auraed_types::status::{ContainerState, ContainerStatus};
use auraed_types::{ContainerName, Pod, PodId, PodStatus, VolumeName};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::driver::{Answer, Command, Driver, Handle, Outlets, Parts};
use super::error::{EngineError, RecordError, StartError};
use super::events::EventHub;
use super::executor::{Adopted, Cell, Node, NodeExecutor};
use super::lookup::find;
use super::machine::Machine;
use super::moment::Clock;
use super::places::Places;
use super::plan::{self, Plan};
use super::recover;
use super::watch::{Statuses, Watch};

/// What the engine works with. It owns none of it but the pods in it.
#[derive(Clone)]
pub struct Dependencies {
    /// What should run, and addresses.
    pub state: State,
    /// Images.
    pub images: Store,
    /// Where sandboxes are made.
    pub host: Arc<Host>,
    /// The pod network; without it only pods with `host_network` are accepted.
    pub network: Option<Arc<Network>>,
    /// Where things are kept.
    pub directories: Directories,
}

/// Where the engine keeps things. All absolute.
#[derive(Clone, Debug)]
pub struct Directories {
    /// What outlives a boot; `pods/<id>` below it.
    pub state: PathBuf,
    /// What must be in memory; `pods/<id>` below it.
    pub run: PathBuf,
    /// Logs; `<namespace>_<name>_<id>/<container>/<attempt>.log` below it.
    pub log: PathBuf,
}

/// The pod engine. Clones are one engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) node: Arc<Node>,
    pub(super) clock: Clock,
    outlets: Arc<Outlets>,
    pods: Mutex<HashMap<PodId, Entry>>,
    drivers: TaskTracker,
    stop: CancellationToken,
}

/// A pod's driver, from outside.
#[derive(Clone)]
struct Entry {
    handle: Handle,
    cell: Arc<Cell>,
}

/// Where to run a program.
#[derive(Debug)]
pub struct ExecTarget {
    /// The pod's sandbox.
    pub sandbox: Sandbox,
    /// The container in it, which runs.
    pub container: ContainerName,
}

/// Which log to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    /// The pod's id.
    pub pod: PodId,
    /// The container.
    pub container: ContainerName,
    /// Which run it is of.
    pub attempt: u32,
    /// The current file; rotated ones are beside it. It may be missing where nothing was written.
    pub path: PathBuf,
    /// The run goes on: more may follow.
    pub running: bool,
}

/// A pod's start as a line of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// When the pod was accepted.
    pub accepted_at: Timestamp,
    /// In the order of their beginning.
    pub steps: Vec<Step>,
}

impl Engine {
    /// Takes over what an earlier daemon left, removes what nobody wants, and goes on with every pod.
    ///
    /// # Errors
    /// [`StartError`]; a single pod that cannot be adopted is no error, it is re-made as its policy says.
    pub async fn start(dependencies: Dependencies) -> Result<Engine, StartError> {
        let Dependencies {
            state,
            images,
            host,
            network,
            directories,
        } = dependencies;
        let system = rustix::system::sysinfo();
        // Both are 64 bits wide where this runs; `as` is for those where they are not.
        #[allow(clippy::unnecessary_cast)]
        let memory_bytes = system.totalram as u64 * u64::from(system.mem_unit);
        let node = Arc::new(Node {
            state,
            images,
            host,
            network,
            directories,
            memory_bytes,
        });
        let inner = Arc::new(Inner {
            node,
            clock: Clock::system(),
            outlets: Arc::new(Outlets {
                statuses: Statuses::default(),
                events: EventHub::default(),
            }),
            pods: Mutex::default(),
            drivers: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        for recovered in recover::recover(&inner.node, inner.clock).await? {
            let (driver, _) = inner.driver(recovered.machine, recovered.adopted);
            inner.run(driver);
        }
        Ok(Engine { inner })
    }

    /// Runs a pod from now on. Idempotent by its id: a repeat updates what may change. On return the pod outlives a
    /// crash of the daemon and a power loss.
    ///
    /// # Errors
    /// [`EngineError::Refused`], [`EngineError::Removing`], [`EngineError::Record`].
    pub async fn now(&self, pod: Pod) -> Result<Arc<PodStatus>, EngineError> {
        let problems = plan::refusals(&pod, self.inner.node.network.is_some());
        if !problems.is_empty() {
            return Err(EngineError::Refused { problems });
        }
        let pod = Arc::new(pod);
        loop {
            if self.inner.stop.is_cancelled() {
                return Err(EngineError::Closed);
            }
            let Some(entry) = self.inner.accept(&pod) else {
                return self.inner.keep(&pod).await;
            };
            let update = |answer| Command::Update {
                pod: Arc::clone(&pod),
                answer,
            };
            if let Some(result) = ask(&entry.handle, update).await {
                return result;
            }
            // It was forgotten this moment: then this is a new pod.
            tokio::task::yield_now().await;
        }
    }

    /// Says what [`Engine::now`] would do and what it would refuse, and does nothing.
    pub fn plan(&self, pod: &Pod) -> Plan {
        let images =
            |container: &auraed_types::pod::Container| self.inner.node.images.get(&container.image).is_some();
        let others = self.inner.all_pods();
        plan::plan(pod, self.inner.node.network.is_some(), images, &others)
    }

    /// Asks a pod to stop, with its own grace period or a given one, and answers at once. `None`: there is no such pod.
    ///
    /// # Errors
    /// [`EngineError::Ambiguous`], [`EngineError::Record`].
    pub async fn stop(
        &self,
        reference: &str,
        grace: Option<Duration>,
    ) -> Result<Option<Arc<PodStatus>>, EngineError> {
        let Some(entry) = self.inner.entry_if_any(reference)? else {
            return Ok(None);
        };
        let stop = |answer| Command::Stop { grace, answer };
        ask(&entry.handle, stop).await.transpose()
    }

    /// Stops a pod if need be and forgets it; returns when nothing is left of it. A missing pod is no error.
    ///
    /// # Errors
    /// [`EngineError::Ambiguous`], [`EngineError::Record`].
    pub async fn remove(&self, reference: &str, grace: Option<Duration>) -> Result<(), EngineError> {
        let Some(entry) = self.inner.entry_if_any(reference)? else {
            return Ok(());
        };
        let remove = |answer| Command::Remove { grace, answer };
        let removed = ask(&entry.handle, remove).await;
        match removed {
            None if self.inner.stop.is_cancelled() => Err(EngineError::Closed),
            None => Ok(()),
            Some(result) => result,
        }
    }

    /// A pod by id, `namespace/name`, or a name that is unique. Of pods of one namespace and name the one that is not
    /// stopping wins, then the newest.
    ///
    /// # Errors
    /// [`EngineError::PodNotFound`], [`EngineError::Ambiguous`].
    pub fn get(&self, reference: &str) -> Result<Arc<PodStatus>, EngineError> {
        find(&self.inner.outlets.statuses, reference)
    }

    /// All pods, by id.
    pub fn list(&self) -> Vec<Arc<PodStatus>> {
        self.inner.outlets.statuses.list()
    }

    /// Watches one pod, or all where `reference` is empty.
    ///
    /// # Errors
    /// [`EngineError::PodNotFound`], [`EngineError::Ambiguous`].
    pub fn watch(&self, reference: &str) -> Result<Watch, EngineError> {
        let only = if reference.is_empty() {
            None
        } else {
            Some(self.get(reference)?.id.clone())
        };
        Ok(self.inner.outlets.statuses.watch(only))
    }

    /// Replaces the content of a volume of files; `false` if it was that already.
    ///
    /// # Errors
    /// [`EngineError::PodNotFound`], [`EngineError::VolumeNotFound`], [`EngineError::Files`], [`EngineError::Record`].
    pub async fn update_files(
        &self,
        pod: &str,
        volume: &VolumeName,
        files: Files,
    ) -> Result<bool, EngineError> {
        let not_found = || EngineError::PodNotFound {
            reference: pod.to_owned(),
        };
        let entry = self.inner.entry_if_any(pod)?.ok_or_else(not_found)?;
        let update = |answer| Command::UpdateFiles {
            volume: volume.clone(),
            files,
            answer,
        };
        ask(&entry.handle, update).await.ok_or_else(not_found)?
    }

    /// A running container, to act on; an empty `container` means the pod's first.
    ///
    /// # Errors
    /// [`EngineError`] of the missing pod or container, or of one that does not run.
    pub fn exec_target(&self, pod: &str, container: &str) -> Result<ExecTarget, EngineError> {
        let status = self.get(pod)?;
        let container = container_of(&status, container)?;
        let not_running = || EngineError::ContainerNotRunning {
            pod: status.name.to_string(),
            container: container.name.to_string(),
        };
        if !matches!(container.state, ContainerState::Running { .. }) {
            return Err(not_running());
        }
        let entry = self.inner.entry(&status.id).ok_or_else(not_running)?;
        let sandbox = entry.cell.sandbox().ok_or_else(not_running)?;
        Ok(ExecTarget {
            sandbox,
            container: container.name.clone(),
        })
    }

    /// The log of a container's newest run, or of the one before; an empty `container` means the pod's first.
    ///
    /// # Errors
    /// [`EngineError`] of the missing pod or container, or of one that has not run.
    pub fn log_target(&self, pod: &str, container: &str, previous: bool) -> Result<LogTarget, EngineError> {
        let status = self.get(pod)?;
        let container = container_of(&status, container)?;
        let (attempt, running) = logged_run(&status, container, previous)?;
        let entry = self.inner.entry(&status.id);
        let entry = entry.ok_or_else(|| EngineError::PodNotFound {
            reference: pod.to_owned(),
        })?;
        let places = Places::of(&entry.cell.pod(), &self.inner.node.directories);
        Ok(LogTarget {
            pod: status.id.clone(),
            container: container.name.clone(),
            attempt,
            path: places.log(container.name.as_str(), attempt),
            running,
        })
    }

    /// What happened to pods.
    pub fn events(&self) -> &EventHub {
        &self.inner.outlets.events
    }

    /// A pod's start as a line of steps.
    ///
    /// # Errors
    /// [`EngineError::PodNotFound`], [`EngineError::Ambiguous`].
    pub fn timeline(&self, reference: &str) -> Result<Timeline, EngineError> {
        let status = self.get(reference)?;
        let entry = self.inner.entry(&status.id);
        let entry = entry.ok_or_else(|| EngineError::PodNotFound {
            reference: reference.to_owned(),
        })?;
        let steps = entry.handle.steps.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(steps.timeline())
    }

    /// Whether a container of a pod that has not finished uses the image.
    pub fn uses_image(&self, image: &Image) -> bool {
        let uses = |container: &ContainerStatus| {
            container.image_id == image.id || image.digests.contains(&container.image_id)
        };
        let unfinished = self.list().into_iter().filter(|status| !status.finished);
        unfinished
            .into_iter()
            .any(|status| status.init_containers.iter().chain(&status.containers).any(uses))
    }

    /// Leaves every pod as it is and ends all tasks of the engine. Calls after it answer [`EngineError::Closed`].
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.drivers.close();
        self.inner.drivers.wait().await;
        self.inner.outlets.statuses.close();
        self.inner.outlets.events.close();
    }
}

/// Asks a driver and waits for its answer; absent if it has ended.
async fn ask<T>(
    handle: &Handle,
    command: impl FnOnce(Answer<T>) -> Command,
) -> Option<Result<T, EngineError>> {
    let (answer, result) = oneshot::channel();
    handle.commands.send(command(answer)).ok()?;
    result.await.ok()
}

impl Inner {
    fn pods(&self) -> MutexGuard<'_, HashMap<PodId, Entry>> {
        // Each holder does one insertion or removal.
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, id: &PodId) -> Option<Entry> {
        self.pods().get(id).cloned()
    }

    fn entry_if_any(&self, reference: &str) -> Result<Option<Entry>, EngineError> {
        if self.stop.is_cancelled() {
            return Err(EngineError::Closed);
        }
        match find(&self.outlets.statuses, reference) {
            Ok(status) => Ok(self.entry(&status.id)),
            Err(EngineError::PodNotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn all_pods(&self) -> Vec<Arc<Pod>> {
        self.pods().values().map(|entry| entry.cell.pod()).collect()
    }

    /// The driver that has this pod, if one has.
    fn accept(&self, pod: &Arc<Pod>) -> Option<Entry> {
        self.entry(&pod.id)
    }

    /// Takes a new pod: its sandbox is begun while it is being written, for a crash before the end of both leaves
    /// something that the next daemon finds unknown, and removes.
    async fn keep(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<Arc<PodStatus>, EngineError> {
        let machine = Machine::new(Arc::clone(pod), self.clock.now());
        let (mut driver, entry) = self.driver(machine, None);
        let (recorded, kept) = driver.keep();
        self.run(driver);
        let failed = |source| EngineError::Record {
            pod: pod.id.to_string(),
            source,
        };
        let kept = kept
            .await
            .unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)));
        let written = match recorded.await {
            Ok(result) => result.and(kept.map_err(RecordError::File)).map_err(failed),
            Err(_) => Err(EngineError::Closed),
        };
        if let Err(error) = written {
            let (answer, _) = oneshot::channel();
            // Its driver may have ended with the daemon.
            let _ = entry.handle.commands.send(Command::Remove {
                grace: Some(Duration::ZERO),
                answer,
            });
            return Err(error);
        }
        let not_found = || EngineError::PodNotFound {
            reference: pod.id.to_string(),
        };
        self.outlets.statuses.get(&pod.id).ok_or_else(not_found)
    }

    /// Makes a pod's driver and puts it where it is found.
    fn driver(&self, machine: Machine, adopted: Option<Adopted>) -> (Driver<NodeExecutor, State>, Entry) {
        let (inputs, receiver) = mpsc::unbounded_channel();
        let cell = Arc::new(Cell::new(Arc::clone(machine.pod())));
        if let Some(adopted) = &adopted {
            cell.set_sandbox(adopted.sandbox.clone(), adopted.addresses.clone());
        }
        let executor = NodeExecutor::new(Arc::clone(&self.node), Arc::clone(&cell), inputs, adopted);
        let id = machine.pod().id.clone();
        let (driver, handle) = Driver::new(Parts {
            machine,
            executor,
            revisions: self.node.state.clone(),
            clock: self.clock,
            outlets: Arc::clone(&self.outlets),
            inputs: receiver,
            stop: self.stop.clone(),
        });
        let entry = Entry { handle, cell };
        self.pods().insert(id, entry.clone());
        (driver, entry)
    }

    fn run(self: &Arc<Self>, driver: Driver<NodeExecutor, State>) {
        let inner = Arc::clone(self);
        let id = driver.id();
        self.drivers.spawn(async move {
            let Some(waiting) = driver.run().await else { return };
            inner.pods().remove(&id);
            inner.outlets.statuses.remove(&id);
            for answer in waiting {
                // Who asked may have gone away.
                let _ = answer.send(Ok(()));
            }
        });
    }
}

/// A container's status; the pod's first container where none is named.
fn container_of<'a>(status: &'a PodStatus, name: &str) -> Result<&'a ContainerStatus, EngineError> {
    let mut all = status.init_containers.iter().chain(&status.containers);
    let found = if name.is_empty() {
        status.containers.first()
    } else {
        all.find(|container| container.name == *name)
    };
    found.ok_or_else(|| EngineError::ContainerNotFound {
        pod: status.name.to_string(),
        container: name.to_owned(),
    })
}

/// The run whose log is asked for, and whether it goes on.
fn logged_run(
    status: &PodStatus,
    container: &ContainerStatus,
    previous: bool,
) -> Result<(u32, bool), EngineError> {
    let (pod, name) = (status.name.to_string(), container.name.to_string());
    match (&container.state, &container.last_state, previous) {
        // One that waits to be started again: its newest run is the one before, and the only one to show.
        (ContainerState::Waiting { .. }, Some(_), _) => Ok((container.restart_count, false)),
        (ContainerState::Waiting { reason, .. }, None, false) => Err(EngineError::ContainerWaiting {
            pod,
            container: name,
            reason: reason.clone(),
        }),
        (ContainerState::Running { .. }, _, false) => Ok((container.restart_count, true)),
        (ContainerState::Terminated(end), _, false) if end.container_id.is_none() => {
            Err(EngineError::ContainerWaiting {
                pod,
                container: name,
                reason: end.reason.clone(),
            })
        }
        (ContainerState::Terminated(_), _, false) => Ok((container.restart_count, false)),
        (_, last, true) => match (last, container.restart_count.checked_sub(1)) {
            (Some(_), Some(attempt)) => Ok((attempt, false)),
            _ => Err(EngineError::NoPreviousRun { pod, container: name }),
        },
    }
}
