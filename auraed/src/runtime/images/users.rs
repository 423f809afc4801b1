//! Who uses images, and what becomes of those that were removed while they were used.

use crate::runtime::Sandboxes;
use crate::runtime::sandboxes::Watcher;
use crate::schedule::{Engine, Watch};
use auraed_image::{Image, Store};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Both engines.
#[derive(Clone)]
pub(super) struct Users {
    engine: Engine,
    sandboxes: Sandboxes,
}

/// What happens to their containers.
struct Changes {
    pods: Option<Watch>,
    sandboxes: Watcher,
}

impl Users {
    pub(super) fn new(engine: Engine, sandboxes: Sandboxes) -> Self {
        Self { engine, sandboxes }
    }

    pub(super) fn use_image(&self, image: &Image) -> bool {
        self.engine.uses_image(image) || self.sandboxes.uses_image(image)
    }

    fn changes(&self) -> Changes {
        Changes {
            pods: self.engine.watch("").ok(),
            sandboxes: self.sandboxes.watch(),
        }
    }
}

impl Changes {
    /// Waits for the next one; false once the daemon stops.
    async fn next(&mut self) -> bool {
        let pods = self.pods.as_mut();
        let pods = async {
            match pods {
                Some(watch) => watch.next().await.is_some(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            more = pods => more,
            // One that was missed is a change, too.
            change = self.sandboxes.next() => change.is_some(),
        }
    }
}

/// Removes images that outlived their removal once nobody uses them. Looks when `retired` tells that there is one, and
/// from then on whenever something happens to a container, until none is left.
pub(super) async fn tidy(store: Store, users: Users, retired: Arc<Notify>, stop: CancellationToken) {
    while stop.run_until_cancelled(retired.notified()).await.is_some() {
        // Before the first look: what changes after it is heard.
        let mut changes = users.changes();
        loop {
            match store.sweep(|image| users.use_image(image)).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    let error = crate::server::chain(&error);
                    tracing::warn!(error, "an image that nobody uses any more stays for now");
                }
            }
            if stop.run_until_cancelled(changes.next()).await != Some(true) {
                return;
            }
        }
    }
}
