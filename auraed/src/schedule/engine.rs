//! The front of the engine: finds pods, hands commands to their drivers, answers from what they published.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use auraed_image::{Image, Store};
use auraed_sandbox::network::Network;
use auraed_sandbox::{Host, Sandbox};
use auraed_state::State;
use auraed_types::event::Step;
use auraed_types::pod::Files;
use auraed_types::{ContainerName, Pod, PodStatus, VolumeName};
use jiff::Timestamp;

use super::error::{EngineError, StartError};
use super::events::EventHub;
use super::plan::Plan;
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

struct Inner {
    statuses: Statuses,
    events: EventHub,
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
    pub pod: auraed_types::PodId,
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
        let _ = dependencies;
        Ok(Engine {
            inner: Arc::new(Inner {
                statuses: Statuses::default(),
                events: EventHub::default(),
            }),
        })
    }

    /// Runs a pod from now on. Idempotent by its id: a repeat updates what may change. On return the pod outlives a
    /// crash of the daemon and a power loss.
    ///
    /// # Errors
    /// [`EngineError::Refused`], [`EngineError::Removing`], [`EngineError::Record`].
    pub async fn now(&self, pod: Pod) -> Result<Arc<PodStatus>, EngineError> {
        Err(EngineError::PodNotFound {
            reference: pod.id.to_string(),
        })
    }

    /// Says what [`Engine::now`] would do and what it would refuse, and does nothing.
    pub fn plan(&self, pod: &Pod) -> Plan {
        let _ = pod;
        Plan::default()
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
        let _ = (reference, grace);
        Ok(None)
    }

    /// Stops a pod if need be and forgets it; returns when nothing is left of it. A missing pod is no error.
    ///
    /// # Errors
    /// [`EngineError::Ambiguous`], [`EngineError::Record`].
    pub async fn remove(&self, reference: &str, grace: Option<Duration>) -> Result<(), EngineError> {
        let _ = (reference, grace);
        Ok(())
    }

    /// A pod by id, `namespace/name`, or a name that is unique. Of pods of one namespace and name the one that is not
    /// stopping wins, then the newest.
    ///
    /// # Errors
    /// [`EngineError::PodNotFound`], [`EngineError::Ambiguous`].
    pub fn get(&self, reference: &str) -> Result<Arc<PodStatus>, EngineError> {
        Err(EngineError::PodNotFound {
            reference: reference.to_owned(),
        })
    }

    /// All pods, by id.
    pub fn list(&self) -> Vec<Arc<PodStatus>> {
        self.inner.statuses.list()
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
        Ok(self.inner.statuses.watch(only))
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
        let _ = (volume, files);
        Err(EngineError::PodNotFound {
            reference: pod.to_owned(),
        })
    }

    /// A running container, to act on; an empty `container` means the pod's first.
    ///
    /// # Errors
    /// [`EngineError`] of the missing pod or container, or of one that does not run.
    pub fn exec_target(&self, pod: &str, container: &str) -> Result<ExecTarget, EngineError> {
        let _ = container;
        Err(EngineError::PodNotFound {
            reference: pod.to_owned(),
        })
    }

    /// The log of a container's newest run, or of the one before; an empty `container` means the pod's first.
    ///
    /// # Errors
    /// [`EngineError`] of the missing pod or container, or of one that has not run.
    pub fn log_target(&self, pod: &str, container: &str, previous: bool) -> Result<LogTarget, EngineError> {
        let _ = (container, previous);
        Err(EngineError::PodNotFound {
            reference: pod.to_owned(),
        })
    }

    /// What happened to pods.
    pub fn events(&self) -> &EventHub {
        &self.inner.events
    }

    /// A pod's start as a line of steps.
    ///
    /// # Errors
    /// [`EngineError::PodNotFound`], [`EngineError::Ambiguous`].
    pub fn timeline(&self, reference: &str) -> Result<Timeline, EngineError> {
        Err(EngineError::PodNotFound {
            reference: reference.to_owned(),
        })
    }

    /// Whether a container of a pod that has not finished uses the image.
    pub fn uses_image(&self, image: &Image) -> bool {
        let _ = image;
        false
    }

    /// Leaves every pod as it is and ends all tasks of the engine. Calls after it answer [`EngineError::Closed`].
    pub async fn shutdown(&self) {
        self.inner.statuses.close();
        self.inner.events.close();
    }
}
