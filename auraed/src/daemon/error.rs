//! Why the daemon could not start, or ended.

use crate::network::NetworkFailure;
use crate::runtime::sandboxes::SandboxError;
use crate::schedule;
use crate::server::{BindError, ServeError};
use auraed_identity::IdentityError;
use auraed_image::OpenError;
use auraed_sandbox::HostError;
use auraed_state::StateError;
use std::io;
use std::path::PathBuf;

/// Why the daemon could not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// Only root may do what a node does.
    #[error("auraed must run as root: start it with sudo, or as a service")]
    NotRoot,
    /// A directory cannot be made or used.
    #[error("cannot use the directory {}: give another {flag}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The flag that sets it.
        flag: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file system in memory cannot be mounted.
    #[error("cannot mount a file system in memory on {}", path.display())]
    Memory {
        /// The mount point.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another daemon has what this one wants.
    #[error("another auraed{} uses {what}: stop it, or give another {flag}", process.map_or_else(String::new, |id| format!(" (process {id})")))]
    Taken {
        /// What is taken.
        what: String,
        /// The flag that sets it.
        flag: &'static str,
        /// Who has it, if that is known.
        process: Option<i32>,
    },
    /// A lock cannot be taken for another reason.
    #[error("cannot lock {what}")]
    Lock {
        /// What was to be locked.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Signals cannot be listened to.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
    /// Directories of logs cannot be watched.
    #[error("cannot watch files: raise fs.inotify.max_user_instances")]
    Inotify(#[source] io::Error),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// Certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The kernel's facilities for sandboxes.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The pod network.
    #[error("cannot set up the pod network")]
    Network(#[from] NetworkFailure),
    /// The image store.
    #[error(transparent)]
    Images(#[from] OpenError),
    /// The pod engine.
    #[error("cannot start the pod engine")]
    Engine(#[from] schedule::StartError),
    /// Sandboxes.
    #[error("cannot take over the sandboxes")]
    Sandboxes(#[from] SandboxError),
    /// The API's socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The API.
    #[error(transparent)]
    Serve(ServeError),
    /// A task of the daemon panicked: a defect.
    #[error("a task of the daemon panicked; please report it with the log")]
    Panic(#[source] tokio::task::JoinError),
    /// A second signal came before the drain was over.
    #[error("interrupted while stopping; pods run on")]
    Interrupted,
    /// Something could not be cleaned up.
    #[error("{} could not be removed: {}", if failures.len() == 1 { "something" } else { "some things" }, failures.join("; "))]
    Leftovers {
        /// Each with its reason.
        failures: Vec<String>,
    },
}
