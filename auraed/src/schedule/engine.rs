//! The front of the engine: finds pods, hands commands to their drivers, answers from what they published.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use auraed_image::{Image, Store};
use auraed_sandbox::{Host, Sandbox};
use auraed_state::State;
use auraed_types::event::Step;
use auraed_types::pod::Files;
use auraed_types::status::{ContainerState, ContainerStatus};
use auraed_types::{ContainerId, ContainerName, Pod, PodId, PodStatus, VolumeName};
use jiff::Timestamp;

use super::driver::Command;
use super::error::{EngineError, StartError};
use super::events::EventHub;
use super::executor::Node;
use super::lookup::{container_of, find, logged_run};
use super::moment::Clock;
use super::places::Places;
use super::plan::{self, Plan};
use super::registry::{Claim, Registry};
use super::watch::Watch;
use crate::network::PodNetwork;

/// What the engine works with. It owns none of it but the pods in it.
#[derive(Clone)]
pub struct Dependencies {
    /// What should run, and addresses.
    pub state: State,
    /// Images.
    pub images: Store,
    /// Where sandboxes are made.
    pub host: Arc<Host>,
    /// The pod network; where there is none, only pods with `host_network` are accepted.
    pub network: PodNetwork,
    /// Where things are kept.
    pub directories: Directories,
    /// Ids in the same directories and cgroups that are not pods'.
    pub others: HashSet<String>,
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
    registry: Arc<Registry>,
}

/// Where to run a program.
#[derive(Debug)]
pub struct ExecTarget {
    /// The pod's sandbox.
    pub sandbox: Sandbox,
    /// The container in it, which runs.
    pub container: ContainerName,
    /// The pod's id.
    pub pod: PodId,
    /// Which start of the container it is.
    pub run: Option<ContainerId>,
    /// Its input ends with the first client that attached to it.
    pub stdin_once: bool,
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
    /// Takes over what an earlier daemon left, removes what nobody wants, and goes on with every pod. What is left on
    /// the network goes when it is reconciled.
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
            others,
        } = dependencies;
        let system = rustix::system::sysinfo();
        // Both are 64 bits wide where this runs; `as` is for those where they are not.
        #[allow(clippy::unnecessary_cast)]
        let memory_bytes = system.totalram as u64 * u64::from(system.mem_unit);
        let node = Node {
            state,
            images,
            host,
            network,
            directories,
            memory_bytes,
        };
        let registry = Arc::new(Registry::new(node, Clock::system()));
        registry.recover(&others).await?;
        Ok(Engine { registry })
    }

    /// Runs a pod from now on. Idempotent by its id: a repeat updates what may change. On return the pod outlives a
    /// crash of the daemon and a power loss.
    ///
    /// # Errors
    /// [`EngineError::Refused`], [`EngineError::Removing`], [`EngineError::Record`].
    pub async fn now(&self, pod: Pod) -> Result<Arc<PodStatus>, EngineError> {
        let problems = plan::refusals(&pod, self.registry.has_network());
        if !problems.is_empty() {
            return Err(EngineError::Refused { problems });
        }
        let pod = Arc::new(pod);
        loop {
            let entry = match self.registry.claim(&pod)? {
                Claim::New(new) => return self.registry.keep(new).await,
                Claim::Known(entry) => entry,
            };
            let update = |answer| Command::Update {
                pod: Arc::clone(&pod),
                answer,
            };
            if let Some(result) = entry.ask(update).await {
                return result;
            }
            // It was forgotten this moment, and this is a new pod; or its driver is being replaced.
            self.registry.is_over(&entry).await?;
        }
    }

    /// Says what [`Engine::now`] would do and what it would refuse, and does nothing.
    pub fn plan(&self, pod: &Pod) -> Plan {
        let images =
            |container: &auraed_types::pod::Container| self.registry.images().get(&container.image).is_some();
        let others = self.registry.all_pods();
        plan::plan(pod, self.registry.has_network(), images, &others)
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
        let Some(entry) = self.registry.find(reference)? else {
            return Ok(None);
        };
        let stop = |answer| Command::Stop { grace, answer };
        entry.ask(stop).await.transpose()
    }

    /// Stops a pod if need be and forgets it; returns when nothing is left of it. A missing pod is no error.
    ///
    /// # Errors
    /// [`EngineError::Ambiguous`], [`EngineError::Record`].
    pub async fn remove(&self, reference: &str, grace: Option<Duration>) -> Result<(), EngineError> {
        let Some(entry) = self.registry.find(reference)? else {
            return Ok(());
        };
        let mut entry = entry;
        loop {
            let remove = |answer| Command::Remove { grace, answer };
            if let Some(result) = entry.ask(remove).await {
                return result;
            }
            if self.registry.is_over(&entry).await? {
                // It was gone before it heard of this.
                return Ok(());
            }
            match self.registry.entry(&entry.cell.pod().id) {
                Some(another) => entry = another,
                None => return Ok(()),
            }
        }
    }

    /// A pod by id, `namespace/name`, or a name that is unique. Of pods of one namespace and name the one that is not
    /// stopping wins, then the newest.
    ///
    /// # Errors
    /// [`EngineError::PodNotFound`], [`EngineError::Ambiguous`].
    pub fn get(&self, reference: &str) -> Result<Arc<PodStatus>, EngineError> {
        find(&self.registry.outlets().statuses, reference)
    }

    /// Whether an id is a pod's.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.list().iter().any(|status| status.id == *id)
    }

    /// All pods, by id.
    pub fn list(&self) -> Vec<Arc<PodStatus>> {
        self.registry.outlets().statuses.list()
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
        Ok(self.registry.outlets().statuses.watch(only))
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
        let entry = self.registry.find(pod)?.ok_or_else(not_found)?;
        let update = |answer| Command::UpdateFiles {
            volume: volume.clone(),
            files,
            answer,
        };
        entry.ask(update).await.ok_or_else(not_found)?
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
        let entry = self.registry.entry(&status.id).ok_or_else(not_running)?;
        let sandbox = entry.cell.sandbox().ok_or_else(not_running)?;
        let pod = entry.cell.pod();
        let mut specs = pod.init_containers.iter().chain(&pod.containers);
        let stdin_once = specs.any(|spec| spec.name == container.name && spec.stdin && spec.stdin_once);
        Ok(ExecTarget {
            sandbox,
            container: container.name.clone(),
            pod: status.id.clone(),
            run: container.container_id.clone(),
            stdin_once,
        })
    }

    /// The sandbox of a pod that runs, whatever its containers do.
    ///
    /// # Errors
    /// [`EngineError`] of the missing pod, or of one that has no sandbox.
    pub fn sandbox_of(&self, pod: &str) -> Result<Sandbox, EngineError> {
        let status = self.get(pod)?;
        let entry = self.registry.entry(&status.id);
        let sandbox = entry.and_then(|entry| entry.cell.sandbox());
        sandbox.ok_or_else(|| EngineError::PodNotRunning {
            pod: status.name.to_string(),
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
        let entry = self.registry.entry(&status.id);
        let entry = entry.ok_or_else(|| EngineError::PodNotFound {
            reference: pod.to_owned(),
        })?;
        let places = Places::of(&entry.cell.pod(), self.registry.directories());
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
        &self.registry.outlets().events
    }

    /// A pod's start as a line of steps.
    ///
    /// # Errors
    /// [`EngineError::PodNotFound`], [`EngineError::Ambiguous`].
    pub fn timeline(&self, reference: &str) -> Result<Timeline, EngineError> {
        let status = self.get(reference)?;
        let entry = self.registry.entry(&status.id);
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
        self.registry.shutdown().await;
    }
}
