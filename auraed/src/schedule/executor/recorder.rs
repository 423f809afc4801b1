//! Writes of one pod to SQLite, in order and off everyone's path.

use auraed_state::{PodRow, State};
use tokio::sync::{mpsc, oneshot};

use super::Recorded;
use crate::schedule::error::RecordError;

/// Hands writes to the task that does them.
#[derive(Debug)]
pub(super) struct Recorder {
    writes: mpsc::UnboundedSender<Write>,
}

#[derive(Debug)]
enum Write {
    Put(Box<PodRow>, oneshot::Sender<Result<(), RecordError>>),
    Remove(String, oneshot::Sender<Result<(), RecordError>>),
}

impl Recorder {
    /// Begins. The task ends when the recorder is dropped and all is written.
    pub(super) fn start(state: State) -> Recorder {
        let (writes, receiver) = mpsc::unbounded_channel();
        tokio::spawn(write_all(state, receiver));
        Recorder { writes }
    }

    pub(super) fn put(&self, row: PodRow) -> Recorded {
        let (answer, recorded) = oneshot::channel();
        // A closed channel drops the answer, which the waiting side takes for a failure.
        let _ = self.writes.send(Write::Put(Box::new(row), answer));
        recorded
    }

    pub(super) fn remove(&self, id: String) -> Recorded {
        let (answer, recorded) = oneshot::channel();
        let _ = self.writes.send(Write::Remove(id, answer));
        recorded
    }
}

async fn write_all(state: State, mut writes: mpsc::UnboundedReceiver<Write>) {
    while let Some(write) = writes.recv().await {
        // Nobody waits any more for an answer that cannot be sent.
        match write {
            Write::Put(row, answer) => {
                let _ = answer.send(state.put_pod(*row).await.map_err(RecordError::from));
            }
            Write::Remove(id, answer) => {
                let _ = answer.send(state.remove_pod(&id).await.map(drop).map_err(RecordError::from));
            }
        }
    }
}
