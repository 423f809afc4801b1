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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::machine::Machine;
    use crate::schedule::moment::Moment;
    use auraed_types::Pod;

    fn status(id: &str, revision: u64) -> Arc<PodStatus> {
        let message = auraed_api::schedule::v0::Pod {
            id: id.into(),
            name: "n".into(),
            containers: vec![auraed_api::runtime::v0::Container {
                name: "c".into(),
                image: "i".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let now = Moment {
            wall: jiff::Timestamp::UNIX_EPOCH,
            steady: jiff::SignedDuration::ZERO,
        };
        let pod = Arc::new(Pod::try_from(message).unwrap());
        Arc::new(Machine::new(pod, now).status(now, revision))
    }

    /// What is queued, as id and revision; 0 for a removal, and `-` for the mark.
    async fn drain(statuses: &Statuses, watch: &mut Watch) -> Vec<(String, u64)> {
        statuses.close();
        let mut seen = Vec::new();
        while let Some(change) = watch.next().await {
            seen.push(match change {
                Change::Status(status) => (status.id.to_string(), status.revision),
                Change::Removed(id) => (id.to_string(), 0),
                Change::Synced => ("-".to_owned(), 0),
            });
        }
        seen
    }

    #[tokio::test]
    async fn a_watch_begins_with_all_and_goes_on_with_changes() {
        let statuses = Statuses::default();
        statuses.publish(status("a", 1));
        statuses.publish(status("b", 2));
        let mut all = statuses.watch(None);
        let mut one = statuses.watch(Some(PodId::new("b").unwrap()));
        statuses.publish(status("a", 3));
        statuses.publish(status("b", 4));
        statuses.remove(&PodId::new("b").unwrap());
        let entry = |id: &str, revision| (id.to_owned(), revision);
        let expected = [
            entry("a", 1),
            entry("b", 2),
            entry("-", 0),
            entry("a", 3),
            entry("b", 4),
            entry("b", 0),
        ];
        assert_eq!(drain(&statuses, &mut all).await, expected);
        assert_eq!(
            drain(&statuses, &mut one).await,
            [entry("b", 2), entry("-", 0), entry("b", 4), entry("b", 0)]
        );
    }

    #[tokio::test]
    async fn a_slow_watcher_gets_the_newest_of_each_pod() {
        let statuses = Statuses::default();
        let mut watch = statuses.watch(None);
        for revision in 1..=5 * QUEUE_LIMIT as u64 {
            statuses.publish(status(if revision % 2 == 0 { "even" } else { "odd" }, revision));
        }
        let seen = drain(&statuses, &mut watch).await;
        assert!(seen.len() <= QUEUE_LIMIT + 1, "{}", seen.len());
        let last = |id: &str| seen.iter().rev().find(|(seen, _)| seen == id).unwrap().1;
        assert_eq!(
            (last("odd"), last("even")),
            (5 * QUEUE_LIMIT as u64 - 1, 5 * QUEUE_LIMIT as u64)
        );
        assert!(seen.contains(&("-".to_owned(), 0)), "the mark is never dropped");
    }

    #[tokio::test]
    async fn a_waiting_watcher_is_woken() {
        let statuses = Arc::new(Statuses::default());
        let mut watch = statuses.watch(None);
        assert_eq!(watch.next().await, Some(Change::Synced));
        let publisher = Arc::clone(&statuses);
        let (change, ()) = tokio::join!(watch.next(), async move { publisher.publish(status("a", 7)) });
        assert!(matches!(change, Some(Change::Status(status)) if status.revision == 7));
    }
}
