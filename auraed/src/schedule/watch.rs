//! Every pod's newest status, and everyone who wants to hear of changes.
//!
//! Drivers publish here; the server's Watch, Get and List read here. One lock guards a map and the subscribers' queues,
//! and is held for a few pushes; nobody waits under it. A subscriber that does not keep up loses nothing that it could
//! not find out: beyond [`QUEUE_LIMIT`] changes only the newest of each pod is kept.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use auraed_types::{PodId, PodStatus};
use tokio::sync::Notify;

/// Changes that a subscriber may be behind before older ones of the same pod are dropped.
const QUEUE_LIMIT: usize = 1024;

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A pod's status, whole.
    Status(Arc<PodStatus>),
    /// All pods of the start were told.
    Synced,
    /// A pod was forgotten.
    Removed(PodId),
}

/// The newest statuses and their subscribers.
#[derive(Debug, Default)]
pub(crate) struct Statuses {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    newest: BTreeMap<PodId, Arc<PodStatus>>,
    subscribers: Vec<Weak<Queue>>,
    closed: bool,
}

#[derive(Debug)]
struct Queue {
    only: Option<PodId>,
    changes: Mutex<VecDeque<Change>>,
    closed: Mutex<bool>,
    wake: Notify,
}

/// One subscriber: first every pod's status, then [`Change::Synced`], then each change.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<Queue>,
}

impl Statuses {
    /// Makes a status known. Statuses of one pod come from its one driver, in order.
    pub(crate) fn publish(&self, status: Arc<PodStatus>) {
        let mut inner = lock(&self.inner);
        inner.newest.insert(status.id.clone(), Arc::clone(&status));
        inner.tell(&status.id, &Change::Status(Arc::clone(&status)));
    }

    /// Forgets a pod.
    pub(crate) fn remove(&self, id: &PodId) {
        let mut inner = lock(&self.inner);
        if inner.newest.remove(id).is_some() {
            inner.tell(id, &Change::Removed(id.clone()));
        }
    }

    pub(crate) fn get(&self, id: &PodId) -> Option<Arc<PodStatus>> {
        lock(&self.inner).newest.get(id).cloned()
    }

    /// All pods, by id.
    pub(crate) fn list(&self) -> Vec<Arc<PodStatus>> {
        lock(&self.inner).newest.values().cloned().collect()
    }

    /// Begins a watch of one pod or of all.
    pub(crate) fn watch(&self, only: Option<PodId>) -> Watch {
        let mut inner = lock(&self.inner);
        let wanted = |id: &PodId| only.as_ref().is_none_or(|only| only == id);
        let mut changes: VecDeque<Change> = inner
            .newest
            .values()
            .filter(|status| wanted(&status.id))
            .map(|status| Change::Status(Arc::clone(status)))
            .collect();
        changes.push_back(Change::Synced);
        let queue = Arc::new(Queue {
            only,
            changes: Mutex::new(changes),
            closed: Mutex::new(inner.closed),
            wake: Notify::new(),
        });
        inner
            .subscribers
            .retain(|subscriber| subscriber.strong_count() > 0);
        inner.subscribers.push(Arc::downgrade(&queue));
        Watch { queue }
    }

    /// Ends every watch, after what is queued.
    pub(crate) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        for queue in inner.subscribers.iter().filter_map(Weak::upgrade) {
            *lock(&queue.closed) = true;
            queue.wake.notify_one();
        }
    }
}

impl Inner {
    fn tell(&mut self, id: &PodId, change: &Change) {
        self.subscribers.retain(|subscriber| {
            let Some(queue) = subscriber.upgrade() else {
                return false;
            };
            if queue.only.as_ref().is_none_or(|only| only == id) {
                queue.push(change.clone());
            }
            true
        });
    }
}

impl Queue {
    fn push(&self, change: Change) {
        let mut changes = lock(&self.changes);
        if changes.len() >= QUEUE_LIMIT {
            keep_newest(&mut changes);
        }
        changes.push_back(change);
        self.wake.notify_one();
    }
}

/// Drops every status that a later change of the same pod makes stale.
fn keep_newest(changes: &mut VecDeque<Change>) {
    let mut last: HashMap<PodId, usize> = HashMap::new();
    for (index, change) in changes.iter().enumerate() {
        match change {
            Change::Status(status) => last.insert(status.id.clone(), index),
            Change::Removed(id) => last.insert(id.clone(), index),
            Change::Synced => None,
        };
    }
    let mut index = 0;
    changes.retain(|change| {
        let kept = match change {
            Change::Status(status) => last.get(&status.id) == Some(&index),
            Change::Removed(_) | Change::Synced => true,
        };
        index += 1;
        kept
    });
}

impl Watch {
    /// The next change; `None` once the engine has shut down. Cancel-safe.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let woken = self.queue.wake.notified();
            if let Some(change) = lock(&self.queue.changes).pop_front() {
                return Some(change);
            }
            if *lock(&self.queue.closed) {
                return None;
            }
            woken.await;
        }
    }
}

/// A poisoned lock means that a panic hit between two pushes: the map is still a map.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
