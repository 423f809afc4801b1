//! What calls to the engine can answer instead of a result.

use std::sync::Arc;

use auraed_types::Problem;

/// Why a call was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No pod has this id, name, or namespace and name.
    #[error("pod \"{reference}\" not found")]
    PodNotFound {
        /// What was asked for.
        reference: String,
    },
    /// Several pods have this name.
    #[error("\"{reference}\" is the name of several pods: give namespace/name or the id of one of {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        reference: String,
        /// Their ids.
        candidates: Vec<String>,
    },
    /// The pod has no such container.
    #[error("pod \"{pod}\" has no container \"{container}\"")]
    ContainerNotFound {
        /// The pod's name.
        pod: String,
        /// What was asked for.
        container: String,
    },
    /// The container has not run yet.
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}")]
    ContainerWaiting {
        /// The pod's name.
        pod: String,
        /// The container.
        container: String,
        /// What it waits for.
        reason: String,
    },
    /// The pod has no sandbox: it has not started yet, or has ended.
    #[error("pod \"{pod}\" is not running")]
    PodNotRunning {
        /// The pod's name.
        pod: String,
    },
    /// The container does not run.
    #[error("container \"{container}\" in pod \"{pod}\" is not running")]
    ContainerNotRunning {
        /// The pod's name.
        pod: String,
        /// The container.
        container: String,
    },
    /// The container has not run before.
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPreviousRun {
        /// The pod's name.
        pod: String,
        /// The container.
        container: String,
    },
    /// The pod has no such volume, or not of files.
    #[error("pod \"{pod}\" has no volume of files \"{volume}\"")]
    VolumeNotFound {
        /// The pod's id.
        pod: String,
        /// What was asked for.
        volume: String,
    },
    /// This node cannot run the pod. Holds at least one problem.
    #[error("the pod cannot run here: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused {
        /// Every field that stands against it.
        problems: Vec<Problem>,
    },
    /// The pod is being removed.
    #[error("pod \"{pod}\" is being removed")]
    Removing {
        /// The pod's id.
        pod: String,
    },
    /// What must not be lost could not be written.
    #[error("cannot record pod \"{pod}\"")]
    Record {
        /// The pod's id.
        pod: String,
        /// Why.
        #[source]
        source: Arc<RecordError>,
    },
    /// New files could not be put into a volume; the old ones are still there.
    #[error("cannot update volume \"{volume}\" of pod \"{pod}\"")]
    Files {
        /// The pod's id.
        pod: String,
        /// The volume.
        volume: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Closed,
}

/// Why something could not be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// SQLite.
    #[error(transparent)]
    State(#[from] auraed_state::StateError),
    /// A file.
    #[error(transparent)]
    File(#[from] std::io::Error),
}

/// Why the engine could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// What should run could not be read.
    #[error("cannot read what should run")]
    State(#[from] auraed_state::StateError),
    /// A directory could not be made or read.
    #[error("cannot prepare the directories of pods")]
    Directory(#[source] std::io::Error),
    /// A pod runs, and this process lacks what it takes to talk to it.
    #[error("cannot take over pod {id}")]
    Adopt {
        /// The pod.
        id: String,
        /// What is missing.
        #[source]
        source: Box<auraed_sandbox::Error>,
    },
}
