//! What happens to sandboxes and containers, for as many as want to watch.
//!
//! ```text
//!  tell ─► kept: events that a watcher has not seen yet, newest last, of limited number and size
//!    └───► broadcast of weak references ─► watchers: one whose event is kept no more has missed it
//! ```
//!
//! Bounded: a watcher that is too slow loses events, is told so, and is ended. An event holds whole specs, so that their
//! number alone would be no bound.

use super::entry::Entry;
use super::error::SandboxError;
use super::record::{now, to_wire};
use api::RuntimeEventKind;
use auraed_api::runtime::v0 as api;
use prost::Message as _;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

/// Events that wait for a slow watcher.
const WAITING: usize = 1024;

/// Bytes of all events that wait, as they are sent; one event is kept whatever its size.
const WAITING_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Hub {
    sender: broadcast::Sender<Weak<api::RuntimeEvent>>,
    kept: Mutex<Kept>,
}

/// What some watcher has not seen yet.
#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<(usize, Arc<api::RuntimeEvent>)>,
    bytes: usize,
}

/// A watcher's end.
#[derive(Debug)]
pub(crate) struct Watcher {
    events: broadcast::Receiver<Weak<api::RuntimeEvent>>,
    stop: CancellationToken,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(WAITING),
            kept: Mutex::default(),
        }
    }
}

impl Kept {
    fn add(&mut self, event: Arc<api::RuntimeEvent>) {
        let bytes = event.encoded_len();
        self.bytes += bytes;
        self.events.push_back((bytes, event));
        while self.bytes > WAITING_BYTES && self.events.len() > 1 {
            self.drop_oldest();
        }
    }

    /// Only the newest so many may still be looked at.
    fn keep(&mut self, count: usize) {
        while self.events.len() > count {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((bytes, _)) = self.events.pop_front() {
            self.bytes -= bytes;
        }
    }
}

impl Hub {
    /// Tells of the sandbox itself (`container` is empty) or of one of its containers, as both are now.
    pub(super) fn tell(&self, kind: RuntimeEventKind, entry: &Entry, container: &str) {
        if self.sender.receiver_count() == 0 {
            return self.kept().keep(0);
        }
        let containers = entry.containers();
        let event = api::RuntimeEvent {
            kind: kind.into(),
            time: to_wire(now()),
            container: container.to_owned(),
            sandbox: Some(entry.status()),
            containers: containers.iter().map(|container| container.status()).collect(),
        };
        let event = Arc::new(event);
        let told = Arc::downgrade(&event);
        let mut kept = self.kept();
        // A watcher may have taken the one before those, and not have looked at it yet.
        kept.keep(self.sender.len() + 1);
        kept.add(event);
        // Under the lock, so that both have one order. The last watcher may have gone meanwhile.
        let _ = self.sender.send(told);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each holder adds or drops whole events.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything from now on, until `stop`.
    pub(super) fn watch(&self, stop: CancellationToken) -> Watcher {
        Watcher {
            events: self.sender.subscribe(),
            stop,
        }
    }
}

impl Watcher {
    /// The next event; absent once the daemon stops.
    pub(crate) async fn next(&mut self) -> Option<Result<Arc<api::RuntimeEvent>, SandboxError>> {
        let event = self.stop.run_until_cancelled(self.events.recv()).await?;
        match event {
            Ok(event) => Some(event.upgrade().ok_or(SandboxError::Lagged { missed: 1 })),
            Err(RecvError::Lagged(missed)) => Some(Err(SandboxError::Lagged { missed })),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sandboxes::record::SandboxRecord;

    #[tokio::test]
    async fn a_watcher_that_is_too_slow_is_told_so() {
        let hub = Hub::default();
        let entry = Entry::new(api::SandboxSpec::default(), SandboxRecord::default());
        hub.tell(RuntimeEventKind::Created, &entry, "nobody watches");
        let stop = CancellationToken::new();
        let mut watcher = hub.watch(stop.clone());
        hub.tell(RuntimeEventKind::Created, &entry, "first");
        let event = watcher.next().await.unwrap().unwrap();
        assert_eq!(event.container, "first");
        for _ in 0..=WAITING {
            hub.tell(RuntimeEventKind::Started, &entry, "");
        }
        let missed = watcher.next().await.unwrap().unwrap_err();
        assert!(matches!(missed, SandboxError::Lagged { missed: 1 }), "{missed:?}");
        stop.cancel();
        let mut late = hub.watch(stop);
        assert!(late.next().await.is_none());
    }

    /// A sandbox whose events are large.
    fn large() -> Entry {
        let spec = api::SandboxSpec {
            annotations: [("notes".to_owned(), "x".repeat(1 << 20))].into(),
            ..api::SandboxSpec::default()
        };
        Entry::new(spec, SandboxRecord::default())
    }

    #[tokio::test]
    async fn large_events_of_a_watcher_that_stands_still_are_not_piled_up() {
        let hub = Hub::default();
        let mut watcher = hub.watch(CancellationToken::new());
        for _ in 0..100 {
            hub.tell(RuntimeEventKind::Started, &large(), "");
        }
        let bytes = |hub: &Hub| hub.kept.lock().unwrap().bytes;
        assert!(bytes(&hub) <= WAITING_BYTES, "{}", bytes(&hub));
        let missed = watcher.next().await.unwrap().unwrap_err();
        assert!(matches!(missed, SandboxError::Lagged { .. }), "{missed:?}");
        drop(watcher);

        // Who keeps up gets all of them, and nothing is kept for him that he has seen.
        let mut watcher = hub.watch(CancellationToken::new());
        for number in 0..100 {
            hub.tell(RuntimeEventKind::Started, &large(), &number.to_string());
            let event = watcher.next().await.unwrap().unwrap();
            assert_eq!(event.container, number.to_string());
        }
        assert!(bytes(&hub) < 3 << 20, "{}", bytes(&hub));
        drop(watcher);
        hub.tell(RuntimeEventKind::Started, &large(), "nobody watches");
        assert_eq!(bytes(&hub), 0);
    }
}
