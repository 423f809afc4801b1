//! What a machine knows of one container.

use std::time::Duration;

use auraed_types::ContainerId;
use auraed_types::status::Terminated;
use jiff::Timestamp;

use super::input::ImageFacts;
use super::probes::Probes;
use crate::schedule::backoff::{Failures, Restarts};
use crate::schedule::moment::Steady;

/// One container.
#[derive(Debug, Default)]
pub(super) struct Track {
    pub(super) run: Run,
    pub(super) image: Fetch,
    /// What the image was resolved to, for the status; empty before.
    pub(super) image_shown: String,
    /// The run that ended last.
    pub(super) newest: Option<Past>,
    /// The one before it.
    pub(super) previous: Option<Past>,
    pub(super) next_attempt: u32,
    /// An init container: it has done in this sandbox what the next one waits for.
    pub(super) passed: bool,
    /// A start came to some end in this sandbox: later containers need not wait for it.
    pub(super) tried: bool,
    /// It was stopped because its definition changed, so that it starts again whatever the policy says.
    pub(super) changed: bool,
    pub(super) restarts: Restarts,
    pub(super) pulls: Failures,
    pub(super) trouble: Option<Trouble>,
}

/// Whether it runs.
#[derive(Debug, Default)]
pub(super) enum Run {
    /// No.
    #[default]
    Idle,
    /// It was asked to.
    Starting {
        attempt: u32,
        sandbox: u32,
        image: ImageFacts,
    },
    /// Yes.
    Running(Box<Running>),
}

/// A run that goes on.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) attempt: u32,
    pub(super) id: ContainerId,
    /// Which sandbox it is in.
    pub(super) sandbox: u32,
    pub(super) since: Timestamp,
    pub(super) stop_signal: i32,
    /// Its postStart hook, if any, goes on.
    pub(super) hooked: bool,
    pub(super) probes: Probes,
    pub(super) kill: Option<Kill>,
}

/// A run that is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    /// The grace is over then.
    pub(super) deadline: Steady,
    pub(super) stage: KillStage,
}

/// How far stopping a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KillStage {
    /// Its preStop hook goes on.
    Hook,
    /// It waits until it may be asked: sidecars end after the others.
    Turn,
    /// It was asked to end.
    Asked { at: Steady },
    /// It was killed.
    Killed { at: Steady },
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) attempt: u32,
    pub(super) sandbox: u32,
    pub(super) finished: Steady,
    pub(super) terminated: Terminated,
}

/// The image for the next start.
#[derive(Debug, Default)]
pub(super) enum Fetch {
    /// Nobody asked for it yet.
    #[default]
    Needed,
    /// It is on its way.
    Fetching,
    /// It is here.
    Ready(ImageFacts),
    /// It cannot be had for now.
    Failed {
        reason: &'static str,
        message: String,
        /// The failure is shown as such until then, and as a back-off after.
        fresh_until: Steady,
        /// Then it is tried again.
        until: Steady,
        /// Of the back-off, for messages.
        backs_off: bool,
    },
}

/// A start that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) retry_at: Steady,
    /// It was a run: the delays between restarts apply too.
    pub(super) ran: bool,
}

/// From a failed preparation to the next try; the kubelet takes 10 to 15 s.
pub(super) const TROUBLE_DELAY: Duration = Duration::from_secs(10);
/// How long a failed pull is shown as a failure before it is shown as a back-off.
pub(super) const FRESH: Duration = Duration::from_secs(2);

impl Past {
    /// By its exit code, or because memory ran out.
    pub(super) fn failed(&self) -> bool {
        self.terminated.exit_code != 0 || self.terminated.reason == "OOMKilled"
    }
}

impl Track {
    pub(super) fn running(&self) -> Option<&Running> {
        match &self.run {
            Run::Running(running) => Some(running),
            Run::Idle | Run::Starting { .. } => None,
        }
    }

    pub(super) fn running_mut(&mut self) -> Option<&mut Running> {
        match &mut self.run {
            Run::Running(running) => Some(running),
            Run::Idle | Run::Starting { .. } => None,
        }
    }

    /// The run of that number, if it is the one that goes on.
    pub(super) fn running_attempt(&mut self, attempt: u32) -> Option<&mut Running> {
        self.running_mut().filter(|running| running.attempt == attempt)
    }

    /// Notes that a run ended.
    pub(super) fn ended(&mut self, past: Past) {
        self.next_attempt = self.next_attempt.max(past.attempt + 1);
        self.previous = self.newest.replace(past);
        self.run = Run::Idle;
    }

    /// A new sandbox: nothing of the old one counts for the order of starts.
    pub(super) fn begin_sandbox(&mut self) {
        self.passed = false;
        self.tried = false;
    }
}
