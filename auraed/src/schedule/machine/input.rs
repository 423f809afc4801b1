//! What a machine is told.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use auraed_types::{ContainerId, Pod, VolumeName};
use jiff::Timestamp;

use super::{Index, ProbeKind};

/// Something that happened, or that somebody wants.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Go on from here. Given once, first.
    Begin,
    /// The owner sent the pod again.
    Update(Arc<Pod>),
    /// The owner wants it to end.
    Stop {
        /// Instead of the pod's own grace period.
        grace: Option<Duration>,
    },
    /// The owner wants it gone, which includes a stop.
    Remove {
        /// Instead of the pod's own grace period.
        grace: Option<Duration>,
    },
    /// All volumes are in place.
    VolumesReady,
    /// A volume could not be put in place.
    VolumeFailed {
        /// Which.
        volume: VolumeName,
        /// Why.
        message: String,
    },
    /// The sandbox stands.
    SandboxCreated(SandboxFacts),
    /// It does not; nothing of it is left.
    SandboxFailed {
        /// Why.
        message: String,
    },
    /// The pod's init ended by itself, and everything in it.
    SandboxLost {
        /// What it recorded of containers that the machine thinks running.
        exits: Vec<Exit>,
    },
    /// Nothing runs in the sandbox any more, and it is gone.
    SandboxDestroyed,
    /// An image is not here, or its policy wants the registry to be asked: a pull begins.
    Pulling {
        /// Whose.
        container: Index,
    },
    /// An image is here.
    ImageReady {
        /// Whose.
        container: Index,
        /// What the container's start needs of it.
        image: ImageFacts,
        /// How it came, if it was pulled for this.
        pulled: Option<Pulled>,
    },
    /// An image cannot be had now.
    ImageFailed {
        /// Whose.
        container: Index,
        /// Why.
        failure: ImageFailure,
    },
    /// A container's program was executed.
    Started {
        /// Whose.
        container: Index,
        /// Which run.
        attempt: u32,
        /// Its id.
        id: ContainerId,
        /// When.
        started_at: Timestamp,
        /// How long its parts took, for the timeline.
        detail: String,
    },
    /// A container could not be started.
    StartFailed {
        /// Whose.
        container: Index,
        /// Which run.
        attempt: u32,
        /// Why.
        failure: StartFailure,
    },
    /// A container is over.
    Exited(Exit),
    /// A hook came to its end.
    HookEnded {
        /// Whose.
        container: Index,
        /// Of which run.
        attempt: u32,
        /// Which.
        hook: HookKind,
        /// Why it failed, if it did.
        result: Result<(), String>,
    },
    /// A probe was answered.
    Probed {
        /// Whose.
        container: Index,
        /// Of which run.
        attempt: u32,
        /// Which.
        kind: ProbeKind,
        /// What came of it.
        outcome: Probed,
    },
    /// Volumes, network and address are given back.
    CleanedUp,
    /// Logs, files and records are gone.
    Forgotten,
    /// The time that [`super::Machine::timer`] named has come.
    Tick,
}

/// A sandbox that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SandboxFacts {
    /// The first is the pod's main one; none with the host's network where it is not known.
    pub(crate) addresses: Vec<IpAddr>,
    /// The process id of the pod's init.
    pub(crate) init_pid: u32,
    /// How long its parts took, for the timeline.
    pub(crate) detail: String,
}

/// What the engine must know of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageFacts {
    /// Digest of its configuration: the key in the store.
    pub(crate) id: String,
    /// `repository@sha256:…` where there is one, else the id.
    pub(crate) shown: String,
    /// What asks its program to end.
    pub(crate) stop_signal: i32,
}

/// How an image came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    /// How long it took.
    pub(crate) took: Duration,
    /// Its size, compressed.
    pub(crate) size_bytes: u64,
}

/// Why an image cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageFailure {
    /// The reference cannot be parsed.
    InvalidName(String),
    /// It is not here, and may not be pulled.
    NeverPull,
    /// The pull failed.
    Pull(String),
}

/// Why a container could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartFailure {
    /// What was asked for cannot be made into a container; nothing was tried.
    Config(String),
    /// The node could not prepare it; nothing ran.
    Create(String),
    /// Its program could not be executed. This was a run.
    Run {
        /// The run's id.
        id: ContainerId,
        /// Why.
        message: String,
    },
    /// The sandbox went away meanwhile; an input about that comes too.
    SandboxGone,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Whose.
    pub(crate) container: Index,
    /// Which run.
    pub(crate) attempt: u32,
    /// Its id.
    pub(crate) id: ContainerId,
    /// 128 + the signal's number after a signal.
    pub(crate) exit_code: i32,
    /// What ended it, else 0.
    pub(crate) signal: i32,
    /// The kernel killed a process of it for want of memory.
    pub(crate) oom_killed: bool,
    /// It could not be executed at all.
    pub(crate) start_failed: bool,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// When it ended.
    pub(crate) finished_at: Timestamp,
    /// The termination message.
    pub(crate) message: String,
}

/// Which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookKind {
    /// After the start.
    PostStart,
    /// Before the stop.
    PreStop,
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probed {
    /// Yes.
    Success,
    /// Yes, but an operator should look.
    Warning(String),
    /// No.
    Failure(String),
    /// It could not be asked.
    Unknown(String),
}
