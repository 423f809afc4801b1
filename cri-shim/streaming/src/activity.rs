//! When something last went over a connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a connection may stand without a word; kubelet's default for such connections.
pub(crate) const IDLE_TIME: Duration = Duration::from_hours(4);
/// How often the client is asked whether it is still there. A program that reads none of its input keeps the end of the
/// connection from being read, too; what is sent to a client that is gone fails.
pub(crate) const PING_TIME: Duration = Duration::from_secs(30);

/// The last time, shared by the two halves of a connection. Our own pings and the answers to them do not count.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    last: Arc<Mutex<Instant>>,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            last: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Something went over the connection.
    pub(crate) fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Resolves when nothing has for [`IDLE_TIME`].
    pub(crate) async fn idle(&self) {
        loop {
            let until = *self.last.lock().unwrap_or_else(PoisonError::into_inner) + IDLE_TIME;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_word_in_between_starts_the_time_anew() {
        let begin = Instant::now();
        let activity = Activity::new();
        let other = activity.clone();
        tokio::spawn(async move {
            tokio::time::sleep(IDLE_TIME / 2).await;
            other.touch();
        });
        activity.idle().await;
        assert_eq!(begin.elapsed(), IDLE_TIME / 2 + IDLE_TIME);
    }
}
