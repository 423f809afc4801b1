//! What a machine wants done. An action never fails: what comes of it is an input.

use std::time::Duration;

use super::input::{HookKind, ImageFacts};
use super::{Index, ProbeKind};
use crate::schedule::events::NewEvent;

/// Something to do for a pod, without waiting for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Write what a crash must not lose ([`super::Machine::record`]).
    Record,
    /// Put all volumes in place. Answered by `VolumesReady` or `VolumeFailed`.
    PrepareVolumes,
    /// Make a sandbox, after removing what is left of an earlier one. Answered by `SandboxCreated` or `SandboxFailed`,
    /// and one day by `SandboxLost`.
    CreateSandbox {
        /// Counts the sandboxes of this pod.
        attempt: u32,
    },
    /// End everything in the sandbox, and the sandbox. Answered by `SandboxDestroyed`, however long it takes.
    DestroySandbox,
    /// Have the container's image here, as its policy wants. Answered by `ImageReady` or `ImageFailed`, maybe after
    /// `Pulling`.
    FetchImage {
        /// Whose.
        container: Index,
    },
    /// Nobody waits for the image any more. Not answered.
    CancelFetch {
        /// Whose.
        container: Index,
    },
    /// Start a container. Answered by `Started` or `StartFailed`, and one day by `Exited`.
    StartContainer(Start),
    /// Ask the main process to end.
    Signal {
        /// Whose.
        container: Index,
        /// The signal's number.
        signal: i32,
    },
    /// SIGKILL to every process of the container.
    Kill {
        /// Whose.
        container: Index,
    },
    /// Run a hook. Answered by `HookEnded`.
    RunHook {
        /// Whose.
        container: Index,
        /// Of which run.
        attempt: u32,
        /// Which.
        hook: HookKind,
        /// Given up after this time; absent means never.
        timeout: Option<Duration>,
    },
    /// Ask a probe once. Answered by `Probed`.
    Probe {
        /// Whose.
        container: Index,
        /// Of which run.
        attempt: u32,
        /// Which.
        kind: ProbeKind,
    },
    /// Tell what happened.
    Event(NewEvent),
    /// Give back volumes, network and address, off everyone's path. Answered by `CleanedUp`.
    CleanUp,
    /// Remove logs, files and records. Answered by `Forgotten`.
    Forget,
}

/// A container to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// Which.
    pub(crate) container: Index,
    /// Which run; its directory may have been left by a try that was cut off.
    pub(crate) attempt: u32,
    /// The sandbox it runs in.
    pub(crate) sandbox: u32,
    /// Its image.
    pub(crate) image: ImageFacts,
    /// What the next restart will wait for: goes into the run's record.
    pub(crate) restart_delay: Duration,
}
