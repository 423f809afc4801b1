//! Logs: a container's log files in the CRI format, read back line by line.
//!
//! ```text
//!  Reader (plain file I/O, on a blocking thread) ─batch─► task of one request ─bounded channel─► client
//!                         ▲                                   ▲         ▲
//!            rotated files, then the current one     LogWatcher      the engine's watch of the pod
//! ```
//!
//! The pod init writes the files and renames them away when they are full; this only reads. A request that follows
//! waits for the directory to change (inotify) and for the pod to change, never by the clock. It ends when the run that
//! it reads has ended and the last file is read to its end. A client that goes away ends its task.

mod line;
mod reader;
mod watcher;

pub use watcher::LogWatcher;

use crate::schedule::{Change, Engine, LogTarget, Watch};
use crate::server::status::Failure;
use auraed_api::observe::v0 as api;
use auraed_types::status::from_wire_time;
use reader::{Progress, Reader, Selection};
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use watcher::Subscription;

/// Messages that wait for a slow client.
const WAITING: usize = 4;

type Answers = mpsc::Sender<Result<api::LogsResponse, Status>>;

/// A log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the log {}", path.display())]
pub struct LogError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl LogError {
    pub(crate) fn kind(&self) -> (Code, &'static str) {
        (Code::Internal, "LOG_UNREADABLE")
    }
}

/// Finds the log and starts reading it.
pub(super) fn logs(
    engine: &Engine,
    watcher: &LogWatcher,
    request: api::LogsRequest,
) -> Result<ReceiverStream<Result<api::LogsResponse, Status>>, Failure> {
    let container = request.container.unwrap_or_default();
    if container.pod.is_empty() {
        return Err(Failure::argument(
            "container.pod",
            "must be an id, namespace/name or a unique name",
        ));
    }
    let since = match &request.since {
        Some(time) => Some(
            from_wire_time(time)
                .ok_or_else(|| Failure::argument("since", "must be a time of the calendar"))?,
        ),
        None => None,
    };
    let target = engine.log_target(&container.pod, &container.container, request.previous)?;
    let following = if request.follow && target.running {
        // The watch begins with the pod's status of now, so a change since the line above is not missed.
        let changes = engine.watch(target.pod.as_str())?;
        let files = target
            .path
            .parent()
            .and_then(|directory| watcher.subscribe(directory));
        Some(Following {
            changes,
            files,
            engine: engine.clone(),
            target: target.clone(),
        })
    } else {
        None
    };
    let selection = Selection {
        tail: request.tail_lines,
        since,
        limit: request.limit_bytes,
    };
    let (answers, stream) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        if let Err(error) = serve(target.path, selection, following, &answers).await {
            let _ = answers.send(Err(Failure::from(error).into_status())).await;
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// Reads to the end, and goes on for as long as the run does.
async fn serve(
    path: PathBuf,
    selection: Selection,
    mut following: Option<Following>,
    answers: &Answers,
) -> Result<(), LogError> {
    let opened = blocking(&path, {
        let path = path.clone();
        move || Reader::open(path, &selection)
    });
    let mut reader = opened.await?;
    loop {
        let last = following.is_none();
        loop {
            let (back, batch) =
                blocking(&path, move || reader.read(last).map(|batch| (reader, batch))).await?;
            reader = back;
            if !batch.lines.is_empty() {
                let answer = api::LogsResponse { lines: batch.lines };
                if answers.send(Ok(answer)).await.is_err() {
                    return Ok(());
                }
            }
            match batch.progress {
                Progress::More => {}
                Progress::End => break,
                Progress::Limit => return Ok(()),
            }
        }
        following = match following {
            None => return Ok(()),
            Some(following) => tokio::select! {
                following = following.wait() => following,
                () = answers.closed() => return Ok(()),
            },
        }
    }
}

/// Runs file I/O where it may block.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, LogError> {
    let done = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|source| LogError {
        path: path.to_owned(),
        source,
    })
}

/// What a request that follows waits for.
struct Following {
    changes: Watch,
    /// Absent where the directory cannot be watched; then the pod's changes alone wake the request.
    files: Option<Subscription>,
    engine: Engine,
    target: LogTarget,
}

impl Following {
    /// Waits until there may be more to read. `None`: what is there now is all.
    async fn wait(mut self) -> Option<Self> {
        loop {
            tokio::select! {
                () = changed(&mut self.files) => return Some(self),
                change = self.changes.next() => match change? {
                    Change::Removed(_) => return None,
                    _ if !self.goes_on() => return None,
                    _ => {}
                },
            }
        }
    }

    /// Whether the run whose log this is still writes.
    fn goes_on(&self) -> bool {
        let LogTarget {
            pod,
            container,
            attempt,
            ..
        } = &self.target;
        let newest = self.engine.log_target(pod.as_str(), container.as_str(), false);
        newest.is_ok_and(|newest| newest.running && newest.attempt == *attempt)
    }
}

async fn changed(files: &mut Option<Subscription>) {
    if let Some(subscription) = files {
        if subscription.changed().await {
            return;
        }
        // The directory is gone.
        *files = None;
    }
    std::future::pending().await
}
