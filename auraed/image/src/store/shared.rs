//! One pull for all who want the same image with the same credentials at the same time.
//!
//! The pull is a future that all of them poll; it is dropped, and so cancelled, with the last of them. Other credentials
//! mean another pull: who may not have an image gets none because somebody else is getting it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::mpsc;

use crate::error::Failure;
use crate::progress::Hub;
use crate::{Credentials, Image, Progress, PullError, Reference};

type Outcome = Result<Arc<Image>, PullError>;

#[derive(Default)]
pub(super) struct Pulls {
    running: Mutex<HashMap<(Reference, Vec<Credentials>), Running>>,
}

struct Running {
    outcome: WeakShared<BoxFuture<'static, Outcome>>,
    hub: Arc<Hub>,
}

impl Pulls {
    /// Joins a running pull or begins one.
    pub(super) async fn join<F>(
        &self,
        reference: &Reference,
        credentials: &[Credentials],
        progress: mpsc::UnboundedSender<Progress>,
        begin: impl FnOnce(Arc<Hub>) -> F,
    ) -> Outcome
    where
        F: Future<Output = Result<Arc<Image>, Failure>> + Send + 'static,
    {
        let key = (reference.clone(), credentials.to_vec());
        let outcome = {
            let mut running = self.running();
            let joined = running
                .get(&key)
                .and_then(|pull| Some((pull.outcome.upgrade()?, pull.hub.clone())));
            // One that is over is not the state of the registry now.
            let (outcome, hub) = match joined.filter(|(outcome, _)| outcome.peek().is_none()) {
                Some(joined) => joined,
                None => {
                    let hub = Arc::new(Hub::default());
                    let outcome = share(reference, begin(hub.clone()));
                    // Those that everybody left, with their credentials.
                    running.retain(|_, pull| pull.outcome.upgrade().is_some());
                    if let Some(weak) = outcome.downgrade() {
                        running.insert(
                            key,
                            Running {
                                outcome: weak,
                                hub: hub.clone(),
                            },
                        );
                    }
                    (outcome, hub)
                }
            };
            hub.listen(progress);
            outcome
        };
        let result = outcome.await;
        self.running().retain(|_, pull| {
            pull.outcome
                .upgrade()
                .is_some_and(|outcome| outcome.peek().is_none())
        });
        result
    }

    fn running(&self) -> MutexGuard<'_, HashMap<(Reference, Vec<Credentials>), Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn share(
    reference: &Reference,
    pull: impl Future<Output = Result<Arc<Image>, Failure>> + Send + 'static,
) -> Shared<BoxFuture<'static, Outcome>> {
    let reference = reference.to_string();
    pull.map(|result| {
        result.map_err(|cause| PullError {
            reference,
            cause: Arc::new(cause),
        })
    })
    .boxed()
    .shared()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pull_that_everybody_left_is_forgotten_with_its_credentials() {
        let pulls = Pulls::default();
        let secret = Credentials {
            password: "secret".into(),
            ..Credentials::default()
        };
        for name in ["one", "other"] {
            let (progress, _) = mpsc::unbounded_channel();
            let endless = |_| std::future::pending::<Result<Arc<Image>, Failure>>();
            let reference = name.parse().unwrap();
            let credentials = std::slice::from_ref(&secret);
            let mut pull = Box::pin(pulls.join(&reference, credentials, progress, endless));
            assert!(futures_util::poll!(&mut pull).is_pending());
            assert_eq!(pulls.running().len(), 1);
        }
    }
}
