//! The drivers of all pods: who has which pod, and what happens when one of them fails.
//!
//! A lock guards the map, and nobody waits under it. A driver that panics (a fault of ours) takes no other down: its pod
//! runs on, and is recovered as after a crash of the daemon.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use auraed_image::Store;
use auraed_sandbox::Host;
use auraed_state::State;
use auraed_types::{Pod, PodId, PodStatus};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::driver::{Answer, Command, Driver, Handle, Outlets, Parts};
use super::engine::Directories;
use super::error::{EngineError, RecordError, StartError};
use super::events::EventHub;
use super::executor::{Adopted, Cell, Node, NodeExecutor, settled};
use super::lookup;
use super::machine::Machine;
use super::moment::Clock;
use super::recover;
use super::shares;
use super::watch::Statuses;
use crate::server::chain;

/// Between the panic of a driver and its pod's recovery: a fault that comes back at once must not keep the node busy.
const AFTER_PANIC: Duration = Duration::from_secs(5);

type PodDriver = Driver<NodeExecutor, State>;

/// All pods of the engine.
pub(super) struct Registry {
    node: Arc<Node>,
    clock: Clock,
    outlets: Arc<Outlets>,
    pods: Mutex<HashMap<PodId, Entry>>,
    drivers: TaskTracker,
    stop: CancellationToken,
}

/// A pod's driver, from outside.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) handle: Handle,
    pub(super) cell: Arc<Cell>,
    /// Cancelled once its driver has ended and its pod is forgotten.
    forgotten: CancellationToken,
    /// The same, or once the pod is another driver's.
    over: CancellationToken,
}

/// Whose pod it is.
pub(super) enum Claim {
    /// A driver has it.
    Known(Entry),
    /// Nobody had it.
    New(Box<New>),
}

/// A pod that has a driver now, which does not work yet.
pub(super) struct New {
    driver: PodDriver,
    entry: Entry,
}

impl Entry {
    /// Asks the driver and waits for its answer; absent if it has ended.
    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(Answer<T>) -> Command,
    ) -> Option<Result<T, EngineError>> {
        let (answer, result) = oneshot::channel();
        self.handle.commands.send(command(answer)).ok()?;
        result.await.ok()
    }
}

impl Registry {
    pub(super) fn new(node: Node, clock: Clock) -> Registry {
        Registry {
            node: Arc::new(node),
            clock,
            outlets: Arc::new(Outlets {
                statuses: Statuses::default(),
                events: EventHub::default(),
            }),
            pods: Mutex::default(),
            drivers: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(super) fn outlets(&self) -> &Outlets {
        &self.outlets
    }

    pub(super) fn images(&self) -> &Store {
        &self.node.images
    }

    pub(super) fn directories(&self) -> &Directories {
        &self.node.directories
    }

    pub(super) fn host(&self) -> &Host {
        &self.node.host
    }

    pub(super) fn has_network(&self) -> bool {
        self.node.network.exists()
    }

    pub(super) fn all_pods(&self) -> Vec<Arc<Pod>> {
        self.pods().values().map(|entry| entry.cell.pod()).collect()
    }

    pub(super) fn entry(&self, id: &PodId) -> Option<Entry> {
        self.pods().get(id).cloned()
    }

    /// Waits until a driver that has ended is its pod's no more: a moment, or a pause if it failed. Tells whether the pod was
    /// forgotten; else another driver has it.
    ///
    /// # Errors
    /// [`EngineError::Closed`] if the daemon stops before, or the pod cannot be taken over.
    pub(super) async fn is_over(&self, entry: &Entry) -> Result<bool, EngineError> {
        let over = self.stop.run_until_cancelled(entry.over.cancelled()).await;
        let forgotten = entry.forgotten.is_cancelled();
        let same = |other: &Entry| other.handle.commands.same_channel(&entry.handle.commands);
        if over.is_none() || (!forgotten && self.pods().values().any(same)) {
            return Err(EngineError::Closed);
        }
        Ok(forgotten)
    }

    /// The pod that a reference means, if there is one.
    pub(super) fn find(&self, reference: &str) -> Result<Option<Entry>, EngineError> {
        if self.stop.is_cancelled() {
            return Err(EngineError::Closed);
        }
        match lookup::find(&self.outlets.statuses, reference) {
            Ok(status) => Ok(self.entry(&status.id)),
            Err(EngineError::PodNotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The driver that has this pod, or a new one that has it from now on.
    pub(super) fn claim(&self, pod: &Arc<Pod>) -> Result<Claim, EngineError> {
        if self.stop.is_cancelled() {
            return Err(EngineError::Closed);
        }
        let mut pods = self.pods();
        match pods.entry(pod.id.clone()) {
            Slot::Occupied(known) => Ok(Claim::Known(known.get().clone())),
            Slot::Vacant(slot) => {
                let (driver, entry) = self.driver(Machine::new(Arc::clone(pod), self.clock.now()), None);
                slot.insert(entry.clone());
                Ok(Claim::New(Box::new(New { driver, entry })))
            }
        }
    }

    /// Lets a new pod's driver work while the pod is being written: a crash before the end of both leaves something that
    /// the next daemon finds unknown, and removes. To its end, whether the caller waits or not: the id is claimed, and
    /// nobody else would begin the driver's work.
    pub(super) async fn keep(self: &Arc<Self>, new: Box<New>) -> Result<Arc<PodStatus>, EngineError> {
        let registry = Arc::clone(self);
        let keeping = self.drivers.spawn(async move { registry.begin(new).await });
        keeping.await.unwrap_or(Err(EngineError::Closed))
    }

    async fn begin(self: &Arc<Self>, new: Box<New>) -> Result<Arc<PodStatus>, EngineError> {
        let New { mut driver, entry } = *new;
        let pod = entry.cell.pod();
        if !pod.host_network {
            // So that it need not wait behind the write of the pod.
            self.node.network.reserve(pod.id.as_str()).await;
        }
        // As it is taken on: a pod may end while it is still being written down, but only a repeat is told so.
        let accepted = self.outlets.statuses.get(&pod.id);
        let (recorded, kept) = driver.keep();
        self.run(driver);
        let failed = |source| EngineError::Record {
            pod: pod.id.to_string(),
            source,
        };
        let kept = kept
            .await
            .unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)));
        let written = match settled(recorded).await {
            Some(outcome) => outcome
                .and(kept.map_err(|error| Arc::new(RecordError::File(error))))
                .map_err(failed),
            None => Err(EngineError::Closed),
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
        accepted.ok_or_else(not_found)
    }

    /// Takes over what an earlier daemon left, and leaves what `others` have. Called once, first.
    pub(super) async fn recover(self: &Arc<Self>, others: &HashSet<String>) -> Result<(), StartError> {
        let (registry, watch) = (Arc::clone(self), self.outlets.statuses.watch(None));
        self.drivers.spawn(async move {
            let stop = registry.stop.clone();
            stop.run_until_cancelled(shares::follow(registry, watch)).await;
        });
        for recovered in recover::all(&self.node, self.clock, others).await? {
            self.resume(recovered);
        }
        Ok(())
    }

    /// Ends all drivers, and leaves the pods.
    pub(super) async fn shutdown(&self) {
        self.stop.cancel();
        self.drivers.close();
        self.drivers.wait().await;
        self.outlets.statuses.close();
        self.outlets.events.close();
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<PodId, Entry>> {
        // Each holder does one insertion or removal.
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A driver that does not work yet, and how it is spoken to.
    fn driver(&self, machine: Machine, adopted: Option<Adopted>) -> (PodDriver, Entry) {
        let (inputs, receiver) = mpsc::unbounded_channel();
        let cell = Arc::new(Cell::new(Arc::clone(machine.pod())));
        if let Some(adopted) = &adopted {
            cell.set_sandbox(adopted.sandbox.clone(), adopted.addresses.clone());
        }
        let forgotten = CancellationToken::new();
        let over = forgotten.child_token();
        let executor = NodeExecutor::new(Arc::clone(&self.node), Arc::clone(&cell), inputs, adopted);
        let (driver, handle) = Driver::new(Parts {
            machine,
            executor,
            revisions: self.node.state.clone(),
            clock: self.clock,
            outlets: Arc::clone(&self.outlets),
            inputs: receiver,
            stop: self.stop.clone(),
        });
        let entry = Entry {
            handle,
            cell,
            forgotten,
            over,
        };
        (driver, entry)
    }

    fn resume(self: &Arc<Self>, recovered: recover::Recovered) {
        let (driver, entry) = self.driver(recovered.machine, recovered.adopted);
        let before = self.pods().insert(driver.id(), entry);
        self.run(driver);
        if let Some(before) = before {
            before.over.cancel();
        }
    }

    fn run(self: &Arc<Self>, driver: PodDriver) {
        let registry = Arc::clone(self);
        let id = driver.id();
        self.drivers.spawn(async move {
            match tokio::spawn(driver.run()).await {
                Ok(Some(waiting)) => registry.forget(&id, waiting),
                // The daemon stops.
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(pod = %id, %error, "the driver of a pod failed: the pod runs on, and is taken over anew");
                    registry.replace(&id).await;
                }
            }
        });
    }

    fn forget(&self, id: &PodId, waiting: Vec<Answer<()>>) {
        // Before the id is free: a new pod of it has a status of its own.
        self.outlets.statuses.remove(id);
        let entry = self.pods().remove(id);
        if let Some(entry) = entry {
            entry.forgotten.cancel();
        }
        for answer in waiting {
            // Who asked may have gone away.
            let _ = answer.send(Ok(()));
        }
    }

    async fn replace(self: &Arc<Self>, id: &PodId) {
        tokio::select! {
            () = self.stop.cancelled() => return,
            () = tokio::time::sleep(AFTER_PANIC) => {}
        }
        match recover::one(&self.node, self.clock, id).await {
            Ok(Some(recovered)) => self.resume(recovered),
            // It was never written: whoever sent it was told so, or will be.
            Ok(None) => self.forget(id, Vec::new()),
            Err(error) => {
                let error = chain(&error);
                tracing::error!(pod = %id, error, "a pod cannot be taken over");
                // Who waits for it is told.
                if let Some(entry) = self.entry(id) {
                    entry.over.cancel();
                }
            }
        }
    }
}
