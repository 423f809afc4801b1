//! Starts and restarts: which container runs next, and when.

use std::time::Duration;

use auraed_types::pod::RestartPolicy;

use super::action::{Action, Start};
use super::stop::Cause;
use super::track::{Fetch, Run};
use super::{Index, Machine, Role, later};
use crate::schedule::backoff::display;
use crate::schedule::moment::{Moment, Steady};

impl Machine {
    /// One look at a pod that should run.
    pub(super) fn advance_running(&mut self, now: Moment) {
        self.note_passed();
        if self.is_done() {
            let grace = self.pod.grace_period;
            self.begin_ending(now, Cause::Natural, grace);
            return;
        }
        if !self.whole {
            return;
        }
        self.advance_ground(now);
        let wave = self.wave();
        for &index in &wave {
            self.advance_fetch(now, index);
        }
        self.start_next(now, &wave);
    }

    /// Notes init containers that are through, in order.
    fn note_passed(&mut self) {
        if self.initialized {
            return;
        }
        let sandbox = self.sandbox.attempt;
        for index in self.indexes() {
            if self.role(index) == Role::Main {
                break;
            }
            if self.track(index).passed {
                continue;
            }
            let passed = match self.role(index) {
                Role::Sidecar => self
                    .track(index)
                    .running()
                    .is_some_and(|run| !run.hooked && run.probes.started()),
                _ => {
                    let newest = self.track(index).newest.as_ref();
                    self.is_idle(index)
                        && newest.is_some_and(|past| past.sandbox == sandbox && !past.failed())
                }
            };
            if !passed {
                return;
            }
            self.track_mut(index).passed = true;
        }
        self.initialized = true;
    }

    /// Whether nothing of the pod will run again, sidecars aside.
    fn is_done(&self) -> bool {
        if self.initialized {
            return self.indexes_of(Role::Main).all(|index| {
                self.is_idle(index) && self.track(index).newest.is_some() && !self.should_start(index)
            });
        }
        // An init container that failed for good.
        self.indexes_of(Role::Init).any(|index| {
            let track = self.track(index);
            let here = track
                .newest
                .as_ref()
                .is_some_and(|past| past.sandbox == self.sandbox.attempt);
            here && !track.passed && self.is_idle(index) && !self.should_start(index)
        })
    }

    /// Whether a container that does not run should, now or once its delay is over.
    pub(super) fn should_start(&self, index: Index) -> bool {
        let track = self.track(index);
        if !self.is_idle(index) {
            return false;
        }
        let Some(newest) = &track.newest else { return true };
        match self.role(index) {
            Role::Sidecar => true,
            Role::Init if newest.sandbox != self.sandbox.attempt => true,
            Role::Init => newest.failed() && !track.passed && self.policy() != RestartPolicy::Never,
            Role::Main if track.changed => true,
            Role::Main => match self.policy() {
                RestartPolicy::Always => true,
                RestartPolicy::OnFailure => newest.failed(),
                RestartPolicy::Never => false,
            },
        }
    }

    /// The containers whose turn it is, in order.
    fn wave(&self) -> Vec<Index> {
        let mut wave = Vec::new();
        for index in self.indexes() {
            let turn = match self.role(index) {
                Role::Main => self.initialized,
                Role::Sidecar | Role::Init => true,
            };
            if turn && self.should_start(index) {
                wave.push(index);
            }
            if !self.initialized && self.role(index) != Role::Main && !self.track(index).passed {
                break;
            }
        }
        wave
    }

    /// Until when a container must wait before it is started, if it must.
    pub(super) fn waits_until(&self, index: Index) -> Option<Steady> {
        let track = self.track(index);
        let trouble = track.trouble.as_ref().map(|trouble| trouble.retry_at);
        let restart = track
            .newest
            .as_ref()
            .and_then(|past| track.restarts.wait(past.finished));
        later(trouble, restart.map(|(_, until)| until))
    }

    fn advance_fetch(&mut self, now: Moment, index: Index) {
        if self.waits_until(index).is_some_and(|until| until > now.steady) {
            return;
        }
        let wanted = match &self.track(index).image {
            Fetch::Needed => true,
            Fetch::Failed { until, .. } => *until <= now.steady,
            Fetch::Fetching | Fetch::Ready(_) => false,
        };
        if wanted {
            self.track_mut(index).image = Fetch::Fetching;
            let name = self.name(index).to_string();
            self.steps.begin("image", &name, now);
            self.actions.push(Action::FetchImage { container: index });
        }
    }

    /// Starts at most one container: they start one after the other, each after its predecessor's postStart hook.
    fn start_next(&mut self, now: Moment, wave: &[Index]) {
        let ready = self.sandbox.is_ready() && self.volumes.stage == super::sandbox::VolumesStage::Ready;
        let busy = self.tracks.iter().any(|track| match &track.run {
            Run::Starting { .. } => true,
            Run::Running(running) => running.hooked && running.kill.is_none(),
            Run::Idle => false,
        });
        if !ready || busy {
            return;
        }
        for &index in wave {
            let due = self.waits_until(index).is_none_or(|until| until <= now.steady);
            if due && matches!(self.track(index).image, Fetch::Ready(_)) {
                self.start(now, index);
                return;
            }
            // A container that was never tried holds back those after it; one that failed or waits does not.
            if !self.track(index).tried {
                return;
            }
        }
    }

    fn start(&mut self, now: Moment, index: Index) {
        let Fetch::Ready(image) = std::mem::take(&mut self.track_mut(index).image) else {
            return;
        };
        let sandbox = self.sandbox.attempt;
        let track = self.track_mut(index);
        if let Some(past) = &track.newest {
            let finished = past.finished;
            track.restarts.restarted(finished, now.steady);
        }
        track.trouble = None;
        track.changed = false;
        let attempt = track.next_attempt;
        let restart_delay: Duration = track.restarts.delay();
        track.run = Run::Starting {
            attempt,
            sandbox,
            image: image.clone(),
        };
        let name = self.name(index).to_string();
        self.steps.begin("container", &name, now);
        let start = Start {
            container: index,
            attempt,
            sandbox,
            image,
            restart_delay,
        };
        self.actions.push(Action::StartContainer(start));
    }

    /// Tells of a delay before a restart, once for each.
    pub(super) fn tell_restart_delay(&mut self, now: Moment, index: Index) {
        let track = self.track(index);
        let Some(past) = &track.newest else { return };
        let waits = track
            .restarts
            .wait(past.finished)
            .is_some_and(|(_, until)| until > now.steady);
        if self.ending.is_none() && waits && self.should_start(index) {
            let message = format!(
                "Back-off restarting failed container {} in pod {}",
                self.name(index),
                self.pod.log_name()
            );
            self.event(Some(index), true, "BackOff", message);
        }
    }

    /// What a container in such a delay shows.
    pub(super) fn crash_loop_message(&self, index: Index, delay: Duration) -> String {
        let pod = self.pod.log_name();
        format!(
            "back-off {} restarting failed container={} pod={pod}",
            display(delay),
            self.name(index)
        )
    }
}
