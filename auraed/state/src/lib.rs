//! The daemon's SQLite file: what should run, which images are here, who has which address. The only SQL.
//!
//! ```text
//!  State (cheap clone) ──job──► one std thread that owns the Connection ──answer──► the caller
//! ```
//!
//! The daemon alone opens the file; a lock on its directory (the daemon's business) keeps a second one away. Writes are
//! transactions in WAL mode: a crash at any instruction leaves all of a write or nothing. What must outlive a power
//! loss (pods, the revision counter) is committed with `synchronous = FULL`, the rest with `NORMAL`, where a power loss
//! may take the last moments but never breaks the file. A damaged file is never repaired or replaced silently: opening
//! it fails with advice.

mod addresses;
mod error;
mod images;
mod migrate;
mod pods;
mod revision;
mod sandboxes;
mod worker;

pub use addresses::{Address, Subnet};
pub use error::StateError;
pub use pods::{PodRow, Stop};
pub use sandboxes::{ContainerRow, SandboxRow};

use revision::Revisions;
use std::path::Path;
use std::sync::Arc;
use worker::Worker;

/// A handle to the daemon's state file. Clones share one connection.
#[derive(Clone, Debug)]
pub struct State {
    worker: Worker,
    revisions: Arc<Revisions>,
}

impl State {
    /// Opens the file at `path`, making it where it is absent, and brings its schema up to date.
    ///
    /// What an interrupted write left behind is rolled back by SQLite here.
    ///
    /// # Errors
    /// [`StateError::Damaged`] for a file that is no sound database, [`StateError::Foreign`] for another program's,
    /// [`StateError::TooNew`] for a later version's; none of them touches the file.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let mut connection = migrate::open(path)?;
        let revisions = Arc::new(Revisions::load(&mut connection)?);
        let worker = Worker::start(connection)?;
        Ok(Self { worker, revisions })
    }

    /// The next revision: higher than every one before it, also across restarts and crashes of the daemon.
    ///
    /// Never waits: numbers are reserved in the file by the hundred thousand, ahead of need.
    #[must_use]
    pub fn next_revision(&self) -> u64 {
        self.revisions.next(&self.worker)
    }

    /// Writes everything into the main file and closes it. Calls made later answer [`StateError::Closed`].
    pub async fn close(&self) {
        self.worker.close().await;
    }
}
