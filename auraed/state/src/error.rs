//! What can go wrong with the state file.

use std::io;
use std::path::PathBuf;

/// What can go wrong with the state file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file or its directory cannot be made.
    #[error("cannot make the state file {}", path.display())]
    Create {
        /// The state file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// SQLite cannot open the file.
    #[error("cannot open the state file {}", path.display())]
    Open {
        /// The state file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The file is no sound database.
    #[error(
        "the state file {} is damaged ({detail}); nothing was changed in it: restore it from a copy, or move it and its \
         -wal and -shm files out of the way to start with no pods and no images",
        path.display()
    )]
    Damaged {
        /// The state file.
        path: PathBuf,
        /// SQLite's finding.
        detail: String,
    },
    /// The file is a database of another program.
    #[error(
        "{} is a database of another program (application id {found:#x}): give another state directory",
        path.display()
    )]
    Foreign {
        /// The state file.
        path: PathBuf,
        /// The application id that it carries.
        found: i32,
    },
    /// A later version of the daemon wrote the file.
    #[error(
        "the state file {} has version {found}, this auraed knows up to {known}: run the newer auraed, or restore the \
         copy from before the upgrade",
        path.display()
    )]
    TooNew {
        /// The state file.
        path: PathBuf,
        /// The version that it carries.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// A step to a newer schema failed; the file is as it was before the step.
    #[error("cannot bring the state file {} to version {version}", path.display())]
    Migrate {
        /// The state file.
        path: PathBuf,
        /// The version that the step leads to.
        version: i64,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The thread that owns the connection cannot be started.
    #[error("cannot start the state thread")]
    Thread(#[source] io::Error),
    /// A read or a write failed; a write left nothing behind.
    #[error("cannot {action} in the state file")]
    Query {
        /// What was tried.
        action: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The file was closed: the daemon is stopping.
    #[error("the state file is closed")]
    Closed,
    /// Every address of the subnet has an owner.
    #[error("no free address is left in {0}")]
    SubnetFull(crate::Subnet),
}
