//! What is known of one sandbox and of one container, and how it is told.
//!
//! ```text
//!  container:  created ──start──► running ──its end──► exited
//!                 └───────start fails─────────────────────┘
//! ```
//!
//! Each is changed under its own lock, which is held for no longer than the change takes; what takes longer is kept apart
//! by turns. A change of a container is queued for SQLite under the same lock, so that the last one written is the last
//! one made.

use super::error::SandboxError;
use super::record::{ContainerRecord, Phase, SandboxRecord, to_wire};
use super::stats::Look;
use api::ContainerState;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::{Root, Sandbox};
use auraed_state::{State, StateError};
use prost::Message as _;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{RwLock, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A write that is queued; it is done whether it is waited for or not.
pub(super) type Written = Pin<Box<dyn Future<Output = Result<(), StateError>> + Send>>;

/// A sandbox.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) spec: api::SandboxSpec,
    /// Read for calls on its containers, written for its making, its end and its removal.
    pub(super) turn: Arc<RwLock<()>>,
    /// Cancelled once it is to end: whatever waits for something in it gives up, and with that its turn.
    pub(super) life: CancellationToken,
    /// Held from a change to the end of its telling: so changes are told in their order.
    telling: Mutex<()>,
    look: Look,
    live: Mutex<Live>,
}

#[derive(Debug)]
struct Live {
    record: SandboxRecord,
    /// While it runs.
    sandbox: Option<Sandbox>,
    addresses: Vec<IpAddr>,
    containers: BTreeMap<String, Arc<Container>>,
    /// It was removed, or never came to be.
    gone: bool,
}

impl Entry {
    pub(super) fn new(spec: api::SandboxSpec, record: SandboxRecord) -> Self {
        Self {
            spec,
            turn: Arc::default(),
            life: CancellationToken::new(),
            telling: Mutex::default(),
            look: Look::default(),
            live: Mutex::new(Live {
                record,
                sandbox: None,
                addresses: Vec::new(),
                containers: BTreeMap::new(),
                gone: false,
            }),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.spec.id
    }

    /// Keeps others from telling of it.
    pub(super) fn telling(&self) -> MutexGuard<'_, ()> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At its cgroup's use of processors.
    pub(super) fn look(&self) -> &Look {
        &self.look
    }

    pub(super) fn own_network(&self) -> bool {
        self.spec.network() != api::NamespaceMode::Node
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().record.phase()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.lock().gone
    }

    pub(super) fn set_gone(&self) {
        self.lock().gone = true;
    }

    /// It runs from now on.
    pub(super) fn set_running(&self, sandbox: Sandbox, addresses: Vec<IpAddr>) {
        let mut live = self.lock();
        live.record.set_phase(Phase::Ready);
        (live.sandbox, live.addresses) = (Some(sandbox), addresses);
    }

    /// Goes on to a later phase, and queues that for SQLite.
    pub(super) fn set_phase(
        &self,
        state: &State,
        phase: Phase,
    ) -> impl Future<Output = Result<(), StateError>> + Send + use<> {
        let mut live = self.lock();
        live.record.set_phase(phase);
        state.record_sandbox(&self.spec.id, live.record.encode_to_vec())
    }

    /// Changes what is in force, and queues that for SQLite.
    pub(super) fn set_resources(
        &self,
        state: &State,
        resources: api::LinuxResources,
    ) -> impl Future<Output = Result<(), StateError>> + Send + use<> {
        let mut live = self.lock();
        live.record.resources = Some(resources);
        state.record_sandbox(&self.spec.id, live.record.encode_to_vec())
    }

    /// For people; kept with the next change.
    pub(super) fn set_message(&self, message: String) {
        self.lock().record.message = message;
    }

    pub(super) fn record(&self) -> SandboxRecord {
        self.lock().record.clone()
    }

    /// The handle of the one that runs.
    pub(super) fn sandbox(&self) -> Result<Sandbox, SandboxError> {
        let sandbox = self.lock().sandbox.clone();
        sandbox.ok_or_else(|| SandboxError::NotReady {
            id: self.spec.id.clone(),
        })
    }

    /// Nobody else acts on it from now on.
    pub(super) fn take_sandbox(&self) -> Option<Sandbox> {
        let mut live = self.lock();
        live.addresses.clear();
        live.sandbox.take()
    }

    pub(super) fn containers(&self) -> Vec<Arc<Container>> {
        self.lock().containers.values().cloned().collect()
    }

    pub(super) fn container(&self, id: &str) -> Option<Arc<Container>> {
        self.lock().containers.get(id).cloned()
    }

    pub(super) fn add(&self, container: Arc<Container>) {
        self.lock()
            .containers
            .insert(container.spec.id.clone(), container);
    }

    pub(super) fn forget(&self, container: &str) {
        self.lock().containers.remove(container);
    }

    pub(super) fn status(&self) -> api::SandboxStatus {
        let live = self.lock();
        let ready = live.record.phase() == Phase::Ready && live.sandbox.is_some();
        let state = if ready {
            api::SandboxState::Ready
        } else {
            api::SandboxState::Stopped
        };
        let mut spec = self.spec.clone();
        if live.record.resources.is_some() {
            spec.resources = live.record.resources.clone();
        }
        api::SandboxStatus {
            spec: Some(spec),
            state: state.into(),
            created_at: to_wire(live.record.created_at),
            addresses: live.addresses.iter().map(ToString::to_string).collect(),
            pid: live.sandbox.as_ref().map_or(0, Sandbox::init_pid),
            message: live.record.message.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // Each holder assigns whole values: a panic leaves old or new ones.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    /// Without its environment, which is in a file in memory until it is no longer needed.
    pub(super) spec: Arc<api::ContainerSpec>,
    /// Held by whoever makes, starts, changes or removes it.
    pub(super) turn: tokio::sync::Mutex<()>,
    look: Look,
    /// Made, or being made, for its start.
    root: Mutex<Option<JoinHandle<Option<Root>>>>,
    live: watch::Sender<ContainerLive>,
}

/// What changes of a container.
#[derive(Clone, Debug)]
pub(super) struct ContainerLive {
    pub(super) record: ContainerRecord,
    /// Of its main process; 0 if it is not known or does not run.
    pub(super) pid: u32,
    /// It was removed, or never came to be.
    pub(super) gone: bool,
}

impl Container {
    pub(super) fn new(spec: api::ContainerSpec, record: ContainerRecord) -> Self {
        let live = ContainerLive {
            record,
            pid: 0,
            gone: false,
        };
        Self {
            spec: Arc::new(spec),
            turn: tokio::sync::Mutex::default(),
            look: Look::default(),
            root: Mutex::default(),
            live: watch::Sender::new(live),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.spec.id
    }

    /// At its cgroup's use of processors.
    pub(super) fn look(&self) -> &Look {
        &self.look
    }

    /// Its root will be what this task makes.
    pub(super) fn put_root(&self, making: JoinHandle<Option<Root>>) {
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(making);
    }

    /// Its root, if it was made ahead and nobody has it yet.
    pub(super) async fn take_root(&self) -> Option<Root> {
        let making = self.root.lock().unwrap_or_else(PoisonError::into_inner).take();
        making?.await.ok()?
    }

    pub(super) fn state(&self) -> ContainerState {
        self.live.borrow().record.state()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.live.borrow().gone
    }

    pub(super) fn set_gone(&self) {
        self.live.send_modify(|live| live.gone = true);
    }

    pub(super) fn record(&self) -> ContainerRecord {
        self.live.borrow().record.clone()
    }

    /// The limits that are in force.
    pub(super) fn resources(&self) -> api::LinuxResources {
        let live = self.live.borrow();
        let updated = live.record.resources.as_ref();
        updated
            .or(self.spec.resources.as_ref())
            .cloned()
            .unwrap_or_default()
    }

    /// Makes a change and queues it for SQLite; absent if `change` changed nothing and said so.
    pub(super) fn change(
        &self,
        state: &State,
        change: impl FnOnce(&mut ContainerLive) -> bool,
    ) -> Option<Written> {
        let mut queued: Option<Written> = None;
        self.live.send_if_modified(|live| {
            let changed = change(live);
            if changed {
                let written = state.record_container(&self.spec.id, live.record.encode_to_vec());
                queued = Some(Box::pin(written));
            }
            changed
        });
        queued
    }

    /// Waits until it does not run.
    pub(super) async fn ended(&self) {
        let mut live = self.live.subscribe();
        // The sending side is this container: it is not closed.
        let _ = live
            .wait_for(|live| live.gone || live.record.state() != ContainerState::Running)
            .await;
    }

    /// That it is in the state which a call needs.
    pub(super) fn expect(&self, wanted: ContainerState) -> Result<(), SandboxError> {
        let is = self.state();
        if is == wanted {
            return Ok(());
        }
        Err(SandboxError::State {
            id: self.spec.id.clone(),
            is: word(is),
            wanted: word(wanted),
        })
    }

    pub(super) fn status(&self) -> api::ContainerStatus {
        let ContainerLive { record, pid, .. } = self.live.borrow().clone();
        api::ContainerStatus {
            spec: Some((*self.spec).clone()),
            state: record.state,
            created_at: to_wire(record.created_at),
            started_at: to_wire(record.started_at),
            finished_at: to_wire(record.finished_at),
            exit_code: record.exit_code,
            reason: record.reason,
            message: record.message,
            image_id: record.image,
            image_reference: record.image_reference,
            user: record.user,
            pid,
            resources: record.resources.or_else(|| self.spec.resources.clone()),
            stop_signal: crate::stop_signal::name(record.stop_signal),
        }
    }
}

/// A state as errors say it.
fn word(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Exited => "exited",
        ContainerState::Unknown | ContainerState::Unspecified => "unknown",
    }
}
