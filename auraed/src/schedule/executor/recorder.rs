//! Writes of one pod to SQLite, in order and off everyone's path.

use std::sync::Arc;

use auraed_state::{PodRow, State};
use tokio::sync::{mpsc, watch};

use super::{Outcome, Recorded};
use crate::schedule::error::RecordError;

/// Hands writes to the task that does them.
#[derive(Debug)]
pub(super) struct Recorder {
    writes: mpsc::UnboundedSender<Write>,
}

#[derive(Debug)]
struct Write {
    what: What,
    outcome: watch::Sender<Option<Outcome>>,
}

#[derive(Debug)]
enum What {
    Put(Box<PodRow>),
    Remove(String),
}

impl Recorder {
    /// Begins. The task ends when the recorder is dropped and all is written.
    pub(super) fn start(state: State) -> Recorder {
        let (writes, receiver) = mpsc::unbounded_channel();
        tokio::spawn(write_all(state, receiver));
        Recorder { writes }
    }

    pub(super) fn put(&self, row: PodRow) -> Recorded {
        self.write(What::Put(Box::new(row)))
    }

    pub(super) fn remove(&self, id: String) -> Recorded {
        self.write(What::Remove(id))
    }

    fn write(&self, what: What) -> Recorded {
        let (outcome, recorded) = watch::channel(None);
        // The task lives as long as this; were it gone, the waiting side would see its channel closed.
        let _ = self.writes.send(Write { what, outcome });
        recorded
    }
}

async fn write_all(state: State, mut writes: mpsc::UnboundedReceiver<Write>) {
    while let Some(Write { what, outcome }) = writes.recv().await {
        let written = match what {
            What::Put(row) => state.put_pod(*row).await,
            What::Remove(id) => state.remove_pod(&id).await.map(drop),
        };
        let written = written.map_err(|error| Arc::new(RecordError::from(error)));
        outcome.send_replace(Some(written));
    }
}

/// Waits for a write; absent if the daemon stops before.
pub(crate) async fn settled(mut recorded: Recorded) -> Option<Outcome> {
    recorded.wait_for(Option::is_some).await.ok()?.clone()
}
