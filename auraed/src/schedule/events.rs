//! The bounded history of what happened to pods.
//!
//! Drivers record here; readers keep a cursor into the ring, so that a slow one costs nothing: it misses what the ring
//! no longer has. The history lives as long as the daemon.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use auraed_types::event::Event;
use auraed_types::{ContainerName, Pod, PodId};
use jiff::Timestamp;
use tokio::sync::watch;

/// Events that are kept.
const CAPACITY: usize = 4096;

/// The history. Clones are one.
#[derive(Clone, Debug)]
pub struct EventHub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ring: Mutex<Ring>,
    /// What readers wait on.
    progress: watch::Sender<Progress>,
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    newest: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    newest: u64,
    closed: bool,
}

/// Reads the history from its oldest event on, then what follows.
#[derive(Debug)]
pub struct EventReader {
    inner: Arc<Inner>,
    only: Option<PodId>,
    progress: watch::Receiver<Progress>,
    seen: u64,
}

/// What is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewEvent {
    pub(crate) container: Option<ContainerName>,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Default for EventHub {
    fn default() -> EventHub {
        let ring = Mutex::new(Ring {
            events: VecDeque::new(),
            newest: 0,
        });
        EventHub {
            inner: Arc::new(Inner {
                ring,
                progress: watch::Sender::new(Progress::default()),
            }),
        }
    }
}

impl EventHub {
    /// Adds an event of a pod and wakes the readers.
    pub(crate) fn record(&self, pod: &Pod, time: Timestamp, event: NewEvent) {
        let mut ring = self.inner.ring();
        ring.newest += 1;
        let sequence = ring.newest;
        if ring.events.len() == CAPACITY {
            ring.events.pop_front();
        }
        let init_container = event.container.as_ref().is_some_and(|name| {
            pod.init_containers
                .iter()
                .any(|container| container.name == *name)
        });
        ring.events.push_back(Arc::new(Event {
            sequence,
            time,
            pod: pod.id.clone(),
            pod_name: pod.name.clone(),
            pod_namespace: pod.namespace.clone(),
            container: event.container,
            init_container,
            warning: event.warning,
            reason: event.reason,
            message: event.message,
        }));
        drop(ring);
        self.inner
            .progress
            .send_modify(|progress| progress.newest = progress.newest.max(sequence));
    }

    /// Ends every reader, after what it has not read yet.
    pub(crate) fn close(&self) {
        self.inner.progress.send_modify(|progress| progress.closed = true);
    }

    /// A reader of one pod's events or of all.
    pub fn read(&self, only: Option<PodId>) -> EventReader {
        EventReader {
            inner: Arc::clone(&self.inner),
            only,
            progress: self.inner.progress.subscribe(),
            seen: 0,
        }
    }
}

impl Inner {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventReader {
    /// The next event that is there already.
    pub fn try_next(&mut self) -> Option<Arc<Event>> {
        let ring = self.inner.ring();
        let start = ring.events.partition_point(|event| event.sequence <= self.seen);
        for event in ring.events.range(start..) {
            self.seen = event.sequence;
            if self.only.as_ref().is_none_or(|only| *only == event.pod) {
                return Some(Arc::clone(event));
            }
        }
        None
    }

    /// The next event, waiting for it; `None` once the engine has shut down. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            let closed = self.progress.borrow_and_update().closed;
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            if closed {
                return None;
            }
            self.progress.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(id: &str) -> Pod {
        let container = |name: &str| auraed_api::runtime::v0::Container {
            name: name.into(),
            image: "i".into(),
            ..Default::default()
        };
        let message = auraed_api::schedule::v0::Pod {
            id: id.into(),
            name: "n".into(),
            init_containers: vec![container("first")],
            containers: vec![container("c")],
            ..Default::default()
        };
        message.try_into().unwrap()
    }

    fn record(hub: &EventHub, id: &str, container: Option<&str>) {
        let event = NewEvent {
            container: container.map(|name| name.parse().unwrap()),
            warning: false,
            reason: "Started",
            message: "Container started".into(),
        };
        hub.record(&pod(id), Timestamp::UNIX_EPOCH, event);
    }

    #[tokio::test]
    async fn readers_get_the_history_then_what_follows_then_the_end() {
        let hub = EventHub::default();
        record(&hub, "a", None);
        record(&hub, "b", Some("first"));
        let mut all = hub.read(None);
        let mut one = hub.read(Some(PodId::new("b").unwrap()));
        assert_eq!(all.next().await.unwrap().sequence, 1);
        let second = one.try_next().unwrap();
        assert_eq!((second.sequence, second.init_container), (2, true));
        assert_eq!(one.try_next(), None);
        let writer = hub.clone();
        let (third, ()) = tokio::join!(one.next(), async move { record(&writer, "b", Some("c")) });
        let third = third.unwrap();
        assert_eq!((third.sequence, third.init_container), (3, false));
        hub.close();
        assert_eq!(one.next().await, None);
        assert_eq!(all.next().await.unwrap().sequence, 2);
        assert_eq!(all.next().await.unwrap().sequence, 3);
        assert_eq!(all.next().await, None);
    }

    #[test]
    fn the_history_is_bounded() {
        let hub = EventHub::default();
        for _ in 0..CAPACITY + 10 {
            record(&hub, "a", None);
        }
        let mut reader = hub.read(None);
        assert_eq!(reader.try_next().unwrap().sequence, 11);
        let mut count = 1;
        while reader.try_next().is_some() {
            count += 1;
        }
        assert_eq!(count, CAPACITY);
    }
}
