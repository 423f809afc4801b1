//! The one thread that owns the connection. Everybody else sends it closures and waits for the answer.
//!
//! The queue has no bound of its own: each caller waits for its answer, so it is as long as there are callers. A closure
//! that panics takes its transaction back and fails its caller alone.

use crate::StateError;
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// A handle to the thread. It ends with the last handle, or by [`Worker::close`].
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    jobs: mpsc::Sender<Message>,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

enum Message {
    Job(Job),
    Close(oneshot::Sender<()>),
}

impl Worker {
    pub(crate) fn start(connection: Connection) -> Result<Self, StateError> {
        let (jobs, queue) = mpsc::channel();
        std::thread::Builder::new()
            .name("state".into())
            .spawn(move || serve(connection, &queue))
            .map_err(StateError::Thread)?;
        Ok(Self { jobs })
    }

    /// Runs `job` on the thread and waits for what it returns.
    pub(crate) async fn run<T, F>(&self, action: &'static str, job: F) -> Result<T, StateError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.enqueue(action, job).await
    }

    /// The same, but `job` is queued by the call itself, and runs whether its end is waited for or not.
    pub(crate) fn enqueue<T, F>(
        &self,
        action: &'static str,
        job: F,
    ) -> impl Future<Output = Result<T, StateError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let sent = self.send(move |connection| {
            if let Err(Err(error)) = answer.send(job(connection)) {
                tracing::error!(action, %error, "a write to the state file failed, and nobody waits for it");
            }
        });
        async move {
            sent?;
            let result = answered.await.map_err(|_| StateError::Closed)?;
            result.map_err(|source| StateError::Query { action, source })
        }
    }

    /// Enqueues `job` and does not wait.
    pub(crate) fn send<F>(&self, job: F) -> Result<(), StateError>
    where
        F: FnOnce(&mut Connection) + Send + 'static,
    {
        self.jobs
            .send(Message::Job(Box::new(job)))
            .map_err(|_| StateError::Closed)
    }

    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Message::Close(done)).is_ok() {
            let _ = closed.await;
        }
    }
}

fn serve(mut connection: Connection, queue: &mpsc::Receiver<Message>) {
    let mut closing = None;
    while let Ok(message) = queue.recv() {
        match message {
            Message::Job(job) => {
                if catch_unwind(AssertUnwindSafe(|| job(&mut connection))).is_err() {
                    tracing::error!("a request to the state file panicked; its transaction was taken back");
                }
            }
            Message::Close(done) => {
                closing = Some(done);
                break;
            }
        }
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "cannot close the state file; the next start recovers it");
    }
    if let Some(done) = closing {
        let _ = done.send(());
    }
}
