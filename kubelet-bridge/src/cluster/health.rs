//! Whether the API server is there: told when it goes, every minute while it is away, and when it is back.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::CallError;
use crate::chain;

const REMIND: Duration = Duration::from_secs(60);

/// Shared by all who call.
#[derive(Debug)]
pub(super) struct Health {
    server: String,
    away: Mutex<Option<Away>>,
}

#[derive(Debug)]
struct Away {
    since: Instant,
    told: Instant,
}

impl Health {
    pub(super) fn new(server: String) -> Health {
        Health {
            server,
            away: Mutex::new(None),
        }
    }

    pub(super) fn answered(&self) {
        if let Some(away) = self.lock().take() {
            tracing::info!(server = %self.server, seconds = away.since.elapsed().as_secs(), "the API server is back");
        }
    }

    pub(super) fn failed(&self, error: &CallError) {
        let mut away = self.lock();
        let now = Instant::now();
        match away.as_mut() {
            None => {
                *away = Some(Away {
                    since: now,
                    told: now,
                });
                tracing::warn!(
                    server = %self.server,
                    "the API server is away, retrying with back-off; pods run on: {}", chain::sources(error)
                );
            }
            Some(state) if now.duration_since(state.told) >= REMIND => {
                state.told = now;
                tracing::warn!(
                    server = %self.server, seconds = state.since.elapsed().as_secs(),
                    "the API server is still away: {}", chain::sources(error)
                );
            }
            Some(_) => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Away>> {
        self.away
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
