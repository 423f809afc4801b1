//! What happens to sandboxes and containers, for as many as want to watch.
//!
//! Bounded: a watcher that is too slow loses events, is told so, and is ended.

use super::entry::Entry;
use super::error::SandboxError;
use super::record::{now, to_wire};
use api::RuntimeEventKind;
use auraed_api::runtime::v0 as api;
use std::sync::Arc;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

/// Events that wait for a slow watcher.
const WAITING: usize = 1024;

#[derive(Debug)]
pub(super) struct Hub {
    sender: broadcast::Sender<Arc<api::RuntimeEvent>>,
}

/// A watcher's end.
#[derive(Debug)]
pub(crate) struct Watcher {
    events: broadcast::Receiver<Arc<api::RuntimeEvent>>,
    stop: CancellationToken,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(WAITING),
        }
    }
}

impl Hub {
    /// Tells of the sandbox itself (`container` is empty) or of one of its containers, as both are now.
    pub(super) fn tell(&self, kind: RuntimeEventKind, entry: &Entry, container: &str) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        let containers = entry.containers();
        let event = api::RuntimeEvent {
            kind: kind.into(),
            time: to_wire(now()),
            container: container.to_owned(),
            sandbox: Some(entry.status()),
            containers: containers.iter().map(|container| container.status()).collect(),
        };
        // The last watcher may have gone meanwhile.
        let _ = self.sender.send(Arc::new(event));
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
            Ok(event) => Some(Ok(event)),
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
}
