//! A machine from what an earlier daemon left: its records, and what the pod's init tells.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use auraed_types::{ContainerId, Pod};
use jiff::Timestamp;

use super::apply::terminated;
use super::input::{Exit, ImageFacts};
use super::probes::Probes;
use super::sandbox::{SandboxStage, VolumesStage};
use super::stop::Cause;
use super::track::{Past, Run, Running};
use super::{End, Index, Machine, Role};
use crate::schedule::backoff::Restarts;
use crate::schedule::moment::Moment;
use crate::schedule::record::{Record, RecordedEnd, RunRecord};

/// What was found of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// When it was accepted.
    pub(crate) accepted_at: Timestamp,
    /// From SQLite.
    pub(crate) record: Record,
    /// When a stop was asked for, and with what grace.
    pub(crate) stop: Option<(Timestamp, Option<Duration>)>,
    /// The pod has its secret values, or needs none.
    pub(crate) whole: bool,
    /// Its init, if it lives.
    pub(crate) sandbox: Option<FoundSandbox>,
    /// In the order of the pod.
    pub(crate) containers: Vec<FoundContainer>,
}

/// A pod's init that lives.
#[derive(Clone, Debug)]
pub(crate) struct FoundSandbox {
    pub(crate) init_pid: u32,
    pub(crate) addresses: Vec<IpAddr>,
}

/// What was found of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct FoundContainer {
    /// The newest runs, in their order.
    pub(crate) runs: Vec<FoundRun>,
}

/// What was found of a run.
#[derive(Clone, Debug)]
pub(crate) struct FoundRun {
    pub(crate) record: RunRecord,
    pub(crate) state: FoundState,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub(crate) enum FoundState {
    /// It goes on.
    Running {
        since: Timestamp,
        /// As the daemon before knew it; absent if it did not say.
        started: Option<bool>,
        ready: Option<bool>,
    },
    /// It ended, and this is how.
    Ended(Exit),
    /// Nobody knows.
    Unknown,
}

impl Machine {
    /// Goes on with a pod. [`super::Input::Begin`] must be the first input.
    pub(crate) fn restore(pod: Arc<Pod>, found: Found, now: Moment) -> Machine {
        let accepted = Moment {
            wall: found.accepted_at,
            steady: now.steady_of(found.accepted_at),
        };
        let mut machine = Machine::new(pod, accepted);
        machine.whole = found.whole;
        machine.removing = found.record.removing;
        if let Some(status) = found.record.finished {
            machine.phase = status.phase;
            machine.end = End::Finished;
            machine.frozen = Some(status);
            return machine;
        }
        machine.sandbox.attempt = found.record.sandbox_attempt;
        let alive = found.sandbox.is_some();
        for (index, container) in found
            .containers
            .into_iter()
            .enumerate()
            .take(machine.tracks.len())
        {
            machine.restore_runs(now, Index(index), container.runs, alive);
        }
        machine.restore_order();
        if found.record.end == Some(RecordedEnd::Deadline) {
            let grace = machine.pod.grace_period;
            machine.begin_ending(now, Cause::Deadline, grace);
        }
        if let Some((requested_at, grace)) = found.stop {
            let requested = Moment {
                wall: requested_at,
                steady: now.steady_of(requested_at),
            };
            machine.stop(requested, grace);
        } else if machine.removing {
            machine.stop(now, None);
        }
        machine.restore_sandbox(now, found.sandbox);
        machine
    }

    fn restore_runs(&mut self, now: Moment, index: Index, runs: Vec<FoundRun>, alive: bool) {
        let probes = |started: Option<bool>, ready: Option<bool>, machine: &Machine| {
            Probes::adopted(
                machine.spec(index),
                now.steady,
                started.unwrap_or(false),
                ready.unwrap_or(false),
            )
        };
        for FoundRun { record, state } in runs {
            let steady = now.steady_of(record.created_at);
            let image = ImageFacts {
                id: record.image.clone(),
                shown: record.image_shown.clone(),
                stop_signal: record.stop_signal,
            };
            let past = match state {
                FoundState::Running {
                    since,
                    started,
                    ready,
                } => {
                    let probes = probes(started, ready, self);
                    let running = restored_run(&record, since, image.stop_signal, probes);
                    self.track_mut(index).run = Run::Running(Box::new(running));
                    None
                }
                FoundState::Ended(exit) => Some((now.steady_of(exit.finished_at), terminated(&exit))),
                // The init lives and does not know it: it was never started.
                FoundState::Unknown if alive && record.sandbox == self.sandbox.attempt => continue,
                FoundState::Unknown => {
                    let probes = Probes::default();
                    let running = restored_run(&record, record.created_at, image.stop_signal, probes);
                    Some((now.steady, super::sandbox::unknown_end(&running, now)))
                }
            };
            let track = self.track_mut(index);
            track.image_shown = record.image_shown.clone();
            track.restarts = Restarts::recorded(record.restart_delay(), steady);
            track.next_attempt = record.attempt + 1;
            if let Some((finished, terminated)) = past {
                track.ended(Past {
                    attempt: record.attempt,
                    sandbox: record.sandbox,
                    finished,
                    terminated,
                });
            }
        }
    }

    /// Containers before one that has run in this sandbox were through.
    fn restore_order(&mut self) {
        let sandbox = self.sandbox.attempt;
        let mut later_ran = false;
        for index in self.indexes().rev() {
            let track = self.track(index);
            let ended_here = track.newest.as_ref().is_some_and(|past| past.sandbox == sandbox);
            let ran = track.running().is_some() || ended_here;
            let init = self.role(index) != Role::Main;
            let track = self.track_mut(index);
            track.tried = ran;
            track.passed = init && later_ran;
            later_ran |= ran;
        }
    }

    fn restore_sandbox(&mut self, now: Moment, sandbox: Option<FoundSandbox>) {
        let existed = self
            .tracks
            .iter()
            .any(|track| track.running().is_some() || track.newest.is_some());
        match sandbox {
            Some(FoundSandbox { init_pid, addresses }) => {
                self.sandbox.stage = SandboxStage::Ready { init_pid };
                self.sandbox.addresses = addresses;
                self.volumes.stage = VolumesStage::Ready;
            }
            None if existed => {
                // It died while nobody looked.
                self.sandbox.stage = SandboxStage::Ready { init_pid: 0 };
                self.sandbox_lost(now, Vec::new());
            }
            None => {}
        }
    }
}

fn restored_run(record: &RunRecord, since: Timestamp, stop_signal: i32, probes: Probes) -> Running {
    let id: ContainerId = record.id.clone();
    Running {
        attempt: record.attempt,
        id,
        sandbox: record.sandbox,
        since,
        stop_signal,
        hooked: false,
        probes,
        kill: None,
    }
}
