//! Sandboxes and containers for callers that decide by themselves what runs when, one verb at a time.
//!
//! ```text
//!  service ── Sandboxes (cheap clone) ──► a task for each call, which ends whether its caller waits or not
//!                 │        │                 │
//!     Hub ◄───────┘        │                 ├─► pod init (auraed-sandbox), network, files
//!      ▲                   ▼                 │
//!      └──── Entry ── Container ◄── exits ── listener, a task for each sandbox
//!              └──────────┴─► SQLite: spec without environment, record
//! ```
//!
//! Calls on one sandbox take turns: those on its containers side by side, its making, end and removal alone. A call that
//! waits for a container to end holds no turn, and one that is in the way of a sandbox's end gives up.
//!
//! What was made is in SQLite before its caller hears of it; what runs is asked of the pod inits, and how it ended of the
//! records that they wrote. So a daemon that is killed at any instruction leaves what [`Sandboxes::start`] takes over or
//! takes away. The values of environments are in files in memory alone: while a container has not been started they are
//! needed, and they go with the sandbox.

mod brief;
mod check;
mod container;
mod create;
mod end;
mod entry;
mod error;
mod etc;
mod hub;
mod listen;
mod places;
mod record;
mod recover;
mod registry;
mod service;
mod spec;
mod stats;
mod update;

pub use error::SandboxError;
pub(crate) use hub::Watcher;
pub use places::Directories;
pub use service::{Containers, SandboxCalls};

use crate::network::PodNetwork;
use auraed_api::runtime::v0 as api;
use auraed_image::{Image, Store};
use auraed_sandbox::Host;
use auraed_state::{State, StateError};
use entry::{Container, Entry};
use hub::Hub;
use registry::{InSandbox, Registry};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the executive works with. It owns none of it but the sandboxes in it.
#[derive(Clone)]
pub struct Dependencies {
    /// What was made.
    pub state: State,
    /// Images.
    pub images: Store,
    /// Where sandboxes are made.
    pub host: Arc<Host>,
    /// What they are attached to.
    pub network: PodNetwork,
    /// Where things are kept.
    pub directories: Directories,
    /// Runtime handlers that mean what the default one means.
    pub handlers: Vec<String>,
}

/// All sandboxes of the node. Clones are one.
#[derive(Clone)]
pub struct Sandboxes {
    shared: Arc<Shared>,
}

struct Shared {
    node: Dependencies,
    registry: Registry,
    hub: Hub,
    /// Ids of rows that cannot be read: what is there of them is left alone.
    unreadable: Mutex<HashSet<String>>,
    /// Cancelled when the daemon stops: what is under way is left as a killed daemon would leave it.
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A container that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its sandbox.
    pub(crate) sandbox: auraed_sandbox::Sandbox,
    /// Its name there.
    pub(crate) name: String,
    /// How it was made, without its environment.
    pub(crate) spec: Arc<api::ContainerSpec>,
}

/// Which containers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// An id or the unique beginning of one; empty means all.
    pub(crate) id: String,
    /// The same of a sandbox.
    pub(crate) sandbox: String,
    /// All of these.
    pub(crate) labels: HashMap<String, String>,
}

impl Sandboxes {
    /// Takes over what an earlier daemon left. Sandboxes that ended meanwhile give back what they had once
    /// [`Sandboxes::settle`] is called.
    ///
    /// # Errors
    /// If the state file or the directories cannot be read. A single sandbox that does not answer has ended.
    pub async fn start(node: Dependencies) -> Result<Self, SandboxError> {
        let shared = Arc::new(Shared {
            node,
            registry: Registry::default(),
            hub: Hub::default(),
            unreadable: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.recover().await?;
        Ok(Self { shared })
    }

    /// Ids that something in the run directory, a cgroup or an interface may be named by.
    pub fn live(&self) -> HashSet<String> {
        let entries = self.shared.registry.sandboxes().into_iter();
        let live = entries.filter(|entry| entry.phase() != record::Phase::Released);
        let unreadable = self.shared.unreadable().clone();
        let live = live.map(|entry| entry.id().to_owned());
        live.chain(unreadable).collect()
    }

    /// Whether an id is a sandbox's.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.shared
            .registry
            .sandbox(id)
            .is_ok_and(|entry| entry.id() == id)
    }

    /// Lets sandboxes that ended while no daemon ran give back what they had, in the background. Called once, when the
    /// network knows who is attached.
    pub fn settle(&self) {
        self.shared.settle_all();
    }

    /// Ends what is under way, and leaves the sandboxes.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Whether a container needs an image.
    #[must_use]
    pub fn uses_image(&self, image: &Image) -> bool {
        self.shared.registry.containers().iter().any(|found| {
            let record = found.container.record();
            record.image == image.id || record.mounted_images.contains(&image.id)
        })
    }

    /// A container that runs.
    ///
    /// # Errors
    /// [`SandboxError::NoContainer`], [`SandboxError::State`], [`SandboxError::NotReady`].
    pub(crate) fn running(&self, id: &str) -> Result<Running, SandboxError> {
        let InSandbox { entry, container } = self.shared.registry.container(id)?;
        container.expect(api::ContainerState::Running)?;
        Ok(Running {
            sandbox: entry.sandbox()?,
            name: container.id().to_owned(),
            spec: Arc::clone(&container.spec),
        })
    }

    /// Waits until a container does not run, and tells its exit code where that is known.
    pub(crate) async fn ended(&self, id: &str) -> Option<i32> {
        let found = self.shared.registry.container(id).ok()?;
        found.container.ended().await;
        let record = found.container.record();
        (record.state() == api::ContainerState::Exited).then_some(record.exit_code)
    }

    /// A sandbox that runs.
    ///
    /// # Errors
    /// [`SandboxError::NoSandbox`], [`SandboxError::NotReady`].
    pub(crate) fn sandbox(&self, id: &str) -> Result<auraed_sandbox::Sandbox, SandboxError> {
        self.shared.registry.sandbox(id)?.sandbox()
    }

    /// A sandbox and its containers, as they are.
    pub(crate) fn get(
        &self,
        id: &str,
    ) -> Result<(api::SandboxStatus, Vec<api::ContainerStatus>), SandboxError> {
        let entry = self.shared.registry.made(id)?;
        let containers = entry.containers();
        let containers = containers.iter().map(|container| container.status()).collect();
        Ok((entry.status(), containers))
    }

    /// The sandboxes that fit, in brief.
    pub(crate) fn list(
        &self,
        id: &str,
        labels: &HashMap<String, String>,
    ) -> Result<Vec<api::SandboxStatus>, SandboxError> {
        let entries = self.shared.entries(id, labels)?;
        Ok(entries.iter().map(|entry| entry.brief()).collect())
    }

    /// A container, as it is.
    pub(crate) fn get_container(&self, id: &str) -> Result<api::ContainerStatus, SandboxError> {
        Ok(self.shared.registry.container(id)?.container.status())
    }

    /// The containers that fit, in brief.
    pub(crate) fn list_containers(&self, filter: &Filter) -> Result<Vec<api::ContainerStatus>, SandboxError> {
        let containers = self.shared.containers(filter)?;
        Ok(containers.iter().map(|found| found.container.brief()).collect())
    }

    /// What happens from now on.
    pub(crate) fn watch(&self) -> Watcher {
        self.shared.hub.watch(self.shared.stop.clone())
    }

    /// Does something to its end, or to the daemon's, whether the caller waits or not.
    async fn finish<T, F>(&self, work: F) -> Result<T, SandboxError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, SandboxError>> + Send + 'static,
    {
        let stop = self.shared.stop.clone();
        let task = async move { stop.run_until_cancelled(work).await };
        match self.shared.tasks.spawn(task).await {
            Ok(Some(done)) => done,
            Ok(None) => Err(SandboxError::Stopping),
            Err(error) => {
                tracing::error!(%error, "a call on a sandbox panicked");
                Err(SandboxError::Stopping)
            }
        }
    }
}

impl Shared {
    fn unreadable(&self) -> MutexGuard<'_, HashSet<String>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self, id: &str, labels: &HashMap<String, String>) -> Result<Vec<Arc<Entry>>, SandboxError> {
        let mut entries = match id {
            "" => self.registry.sandboxes(),
            id => match self.registry.made(id) {
                Ok(entry) => vec![entry],
                Err(SandboxError::NoSandbox { .. }) => Vec::new(),
                Err(error) => return Err(error),
            },
        };
        entries.retain(|entry| fits(&entry.spec.labels, labels));
        Ok(entries)
    }

    fn containers(&self, filter: &Filter) -> Result<Vec<InSandbox>, SandboxError> {
        let mut containers = match filter.id.as_str() {
            "" => self.registry.containers(),
            id => match self.registry.container(id) {
                Ok(found) => vec![found],
                Err(SandboxError::NoContainer { .. }) => Vec::new(),
                Err(error) => return Err(error),
            },
        };
        if !filter.sandbox.is_empty() {
            let sandbox = match self.registry.sandbox(&filter.sandbox) {
                Ok(entry) => entry.id().to_owned(),
                Err(SandboxError::NoSandbox { .. }) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            containers.retain(|found| found.entry.id() == sandbox);
        }
        containers.retain(|found| fits(&found.container.spec.labels, &filter.labels));
        Ok(containers)
    }

    /// Queues a container's change without waiting for it: the pod init and its record know it, too.
    fn change(&self, container: &Container, change: impl FnOnce(&mut entry::ContainerLive) -> bool) -> bool {
        container.change(&self.node.state, change).is_some()
    }

    /// The same, and waits.
    async fn record(
        &self,
        container: &Container,
        change: impl FnOnce(&mut entry::ContainerLive) -> bool,
    ) -> Result<bool, StateError> {
        match container.change(&self.node.state, change) {
            Some(written) => written.await.map(|()| true),
            None => Ok(false),
        }
    }
}

fn fits(has: &HashMap<String, String>, wanted: &HashMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| has.get(name) == Some(value))
}
