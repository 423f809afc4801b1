//! The pod's sandbox and volumes: when they are made, and made again.

use std::net::IpAddr;
use std::time::Duration;

use auraed_types::VolumeName;
use auraed_types::pod::RestartPolicy;
use auraed_types::status::{SandboxStatus, Terminated};

use super::action::Action;
use super::input::{Exit, SandboxFacts};
use super::stop::Cause;
use super::track::{Past, Run, Running};
use super::{Index, Machine, Role};
use crate::schedule::backoff::Failures;
use crate::schedule::moment::{Moment, Steady, signed};

/// The first delay after a failed sandbox, and the longest.
const SANDBOX_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The same for volumes, as the kubelet has them.
const VOLUME_DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(122));

/// The sandbox.
#[derive(Debug, Default)]
pub(super) struct Sandbox {
    pub(super) stage: SandboxStage,
    /// Of the one that is there or will be next.
    pub(super) attempt: u32,
    /// Stay when it is gone, for the status.
    pub(super) addresses: Vec<IpAddr>,
    failures: Failures,
}

/// How far the sandbox is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum SandboxStage {
    /// There is none; it is made when the time has come.
    #[default]
    Absent,
    /// The last try failed.
    Waiting { until: Steady },
    /// It is being made.
    Creating,
    /// It stands.
    Ready { init_pid: u32 },
    /// It is being ended.
    Destroying,
}

/// All volumes together.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    pub(super) stage: VolumesStage,
    failures: Failures,
}

/// How far the volumes are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum VolumesStage {
    /// They are put in place when the time has come.
    #[default]
    Absent,
    /// The last try failed.
    Waiting { until: Steady },
    /// They are being put in place.
    Preparing,
    /// They are in place.
    Ready,
}

impl Sandbox {
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, SandboxStage::Ready { .. })
    }

    pub(super) fn status(&self) -> SandboxStatus {
        let init_pid = match self.stage {
            SandboxStage::Ready { init_pid } => init_pid,
            _ => 0,
        };
        SandboxStatus {
            ready: self.is_ready(),
            addresses: self.addresses.clone(),
            init_pid,
            attempt: self.attempt,
        }
    }
}

impl Machine {
    /// Asks for volumes and sandbox, side by side.
    pub(super) fn advance_ground(&mut self, now: Moment) {
        let due = match self.volumes.stage {
            VolumesStage::Absent => true,
            VolumesStage::Waiting { until } => until <= now.steady,
            VolumesStage::Preparing | VolumesStage::Ready => false,
        };
        if due {
            self.volumes.stage = VolumesStage::Preparing;
            self.steps.begin("volumes", "", now);
            self.actions.push(Action::PrepareVolumes);
        }
        let due = match self.sandbox.stage {
            SandboxStage::Absent => true,
            SandboxStage::Waiting { until } => until <= now.steady,
            _ => false,
        };
        if due {
            self.sandbox.stage = SandboxStage::Creating;
            self.steps.begin("sandbox", "", now);
            self.actions.push(Action::CreateSandbox {
                attempt: self.sandbox.attempt,
            });
        }
    }

    pub(super) fn volumes_ready(&mut self, now: Moment) {
        if self.volumes.stage == VolumesStage::Preparing {
            self.volumes.stage = VolumesStage::Ready;
            self.volumes.failures.succeeded();
            self.steps.end("volumes", "", now, "");
        }
    }

    pub(super) fn volume_failed(&mut self, now: Moment, volume: &VolumeName, message: &str) {
        if self.volumes.stage == VolumesStage::Preparing {
            let delay = self.volumes.failures.failed(VOLUME_DELAYS.0, VOLUME_DELAYS.1);
            self.volumes.stage = VolumesStage::Waiting {
                until: now.steady + signed(delay),
            };
            self.steps.end("volumes", "", now, message);
            self.event(
                None,
                true,
                "FailedMount",
                format!("MountVolume.SetUp failed for volume \"{volume}\" : {message}"),
            );
        }
    }

    pub(super) fn sandbox_created(&mut self, now: Moment, facts: SandboxFacts) {
        if self.sandbox.stage == SandboxStage::Creating {
            self.sandbox.stage = SandboxStage::Ready {
                init_pid: facts.init_pid,
            };
            self.sandbox.addresses = facts.addresses;
            self.sandbox.failures.succeeded();
            self.steps.end("sandbox", "", now, &facts.detail);
        }
    }

    pub(super) fn sandbox_failed(&mut self, now: Moment, message: &str) {
        if self.sandbox.stage == SandboxStage::Creating {
            let delay = self.sandbox.failures.failed(SANDBOX_DELAYS.0, SANDBOX_DELAYS.1);
            self.sandbox.stage = SandboxStage::Waiting {
                until: now.steady + signed(delay),
            };
            self.steps.end("sandbox", "", now, message);
            self.event(
                None,
                true,
                "FailedCreatePodSandBox",
                format!("Failed to create pod sandbox: {message}"),
            );
        }
    }

    pub(super) fn sandbox_destroyed(&mut self) {
        self.sandbox.stage = SandboxStage::Absent;
    }

    /// The pod's init is gone, and every process of the pod: the kernel saw to that.
    pub(super) fn sandbox_lost(&mut self, now: Moment, exits: Vec<Exit>) {
        if !self.sandbox.is_ready() {
            return;
        }
        for exit in exits {
            self.exited(now, exit);
        }
        for index in self.indexes() {
            // A start under way is answered by a failure of its own.
            self.lost(now, index);
        }
        self.sandbox.stage = SandboxStage::Absent;
        if self.ending.is_some() {
            return;
        }
        if !self.deserves_sandbox() {
            self.begin_ending(now, Cause::Natural, self.pod.grace_period);
            return;
        }
        self.event(
            None,
            false,
            "SandboxChanged",
            "Pod sandbox changed, it will be killed and re-created.".to_owned(),
        );
        self.sandbox.attempt += 1;
        self.initialized = false;
        for track in &mut self.tracks {
            track.begin_sandbox();
        }
        self.actions.push(Action::Record);
    }

    /// Ends a run that went with its sandbox, unrecorded.
    pub(super) fn lost(&mut self, now: Moment, index: Index) {
        let track = self.track_mut(index);
        let Some(running) = track.running() else { return };
        let past = Past {
            attempt: running.attempt,
            sandbox: running.sandbox,
            finished: now.steady,
            terminated: unknown_end(running, now),
        };
        track.ended(past);
    }

    /// Whether a pod that lost its sandbox still has something to run.
    pub(super) fn deserves_sandbox(&self) -> bool {
        if self.policy() == RestartPolicy::Never {
            return self.tracks.iter().all(|track| track.newest.is_none());
        }
        self.indexes_of(Role::Main).any(|index| {
            let done = self.track(index).newest.is_some() && !self.newest_failed(index);
            !(done && self.policy() == RestartPolicy::OnFailure)
        })
    }

    /// A start that was under way is not any more, and was no run.
    pub(super) fn start_undone(&mut self, index: Index) {
        self.track_mut(index).run = Run::Idle;
    }
}

/// How a run ended that nobody saw end.
pub(super) fn unknown_end(running: &Running, now: Moment) -> Terminated {
    Terminated {
        exit_code: 137,
        signal: 0,
        reason: "ContainerStatusUnknown".to_owned(),
        message:
            "The container could not be located when the pod was deleted.  The container used to be Running"
                .to_owned(),
        started_at: Some(running.since),
        finished_at: Some(now.wall),
        container_id: Some(running.id.clone()),
    }
}
