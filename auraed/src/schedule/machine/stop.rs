//! Stops: of one container, and of the whole pod.
//!
//! ```text
//!   ── preStop hook ──► its turn ──► asked (SIGTERM) ──► killed ──► its exit, or the sandbox's end
//!       (in the grace)   (sidecars)        │ what is left of the grace, at least 2 s
//! ```

use std::time::Duration;

use super::action::Action;
use super::input::HookKind;
use super::sandbox::SandboxStage;
use super::track::{Fetch, Kill, KillStage, Run};
use super::{End, Index, Machine, Role};
use crate::schedule::moment::{Moment, Steady, signed};

/// A pod's grace period is at least this.
const LEAST_POD_GRACE: Duration = Duration::from_secs(1);
/// A process that was asked to end has at least this long.
const LEAST_SIGNAL_GRACE: Duration = Duration::from_secs(2);
/// A killed container that does not end (a process in the kernel's hands) is killed again after this long.
const KILL_AGAIN: Duration = Duration::from_secs(10);

/// The pod is ending.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) cause: Cause,
    /// When its owner asked for a stop, maybe of a pod that was ending already, and with what grace.
    pub(super) asked: Option<(Moment, Duration)>,
    /// The grace of all is over then.
    pub(super) deadline: Steady,
}

/// Why a pod ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its containers are done, or will never be.
    Natural,
    /// Its time is over.
    Deadline,
    /// Its owner said so.
    Asked,
}

impl Machine {
    pub(super) fn stop(&mut self, now: Moment, grace: Option<Duration>) {
        if self.is_finished() {
            return;
        }
        let grace = grace.unwrap_or(self.pod.grace_period).max(LEAST_POD_GRACE);
        if self.ending.is_none() {
            self.begin_ending(now, Cause::Asked, grace);
        }
        let Some(ending) = &mut self.ending else { return };
        let deadline = now.steady + signed(grace);
        if ending.asked.is_none() || deadline < ending.deadline {
            ending.asked = Some((now, grace));
            ending.deadline = ending.deadline.min(deadline);
            self.actions.push(Action::Record);
        }
    }

    pub(super) fn begin_ending(&mut self, now: Moment, cause: Cause, grace: Duration) {
        let grace = grace.max(LEAST_POD_GRACE);
        let deadline = now.steady + signed(grace);
        self.ending = Some(Ending {
            cause,
            asked: None,
            deadline,
        });
    }

    /// One look at a pod that is ending.
    pub(super) fn advance_stopping(&mut self, now: Moment) {
        let Some(ending) = &self.ending else { return };
        let deadline = ending.deadline;
        for index in self.indexes() {
            if matches!(self.track(index).image, Fetch::Fetching) {
                self.actions.push(Action::CancelFetch { container: index });
            }
            let track = self.track_mut(index);
            track.image = Fetch::Needed;
            let Some(running) = track.running_mut() else {
                continue;
            };
            match &mut running.kill {
                Some(kill) => kill.deadline = kill.deadline.min(deadline),
                None => {
                    let grace = Duration::try_from(deadline - now.steady).unwrap_or(Duration::ZERO);
                    let message = format!("Stopping container {}", self.name(index));
                    self.begin_kill(now, index, grace, message);
                }
            }
        }
        self.advance_kills(now);
        let quiet = self.indexes().all(|index| self.is_idle(index));
        match self.sandbox.stage {
            SandboxStage::Ready { .. } if quiet => {
                self.sandbox.stage = SandboxStage::Destroying;
                self.actions.push(Action::DestroySandbox);
            }
            SandboxStage::Absent | SandboxStage::Waiting { .. } if quiet => self.finish(),
            _ => {}
        }
    }

    fn finish(&mut self) {
        self.end = End::Finished;
        self.actions.push(Action::Record);
        self.actions.push(Action::CleanUp);
    }

    /// Begins to stop one container.
    pub(super) fn begin_kill(&mut self, now: Moment, index: Index, grace: Duration, message: String) {
        let has_hook = self.spec(index).pre_stop.is_some();
        let Some(running) = self.track_mut(index).running_mut() else {
            return;
        };
        if running.kill.is_some() {
            return;
        }
        let attempt = running.attempt;
        let deadline = now.steady + signed(grace);
        let hook = has_hook && grace > Duration::ZERO;
        let stage = if hook { KillStage::Hook } else { KillStage::Turn };
        running.kill = Some(Kill { deadline, stage });
        self.event(Some(index), false, "Killing", message);
        if hook {
            let (hook, timeout) = (HookKind::PreStop, Some(grace));
            self.actions.push(Action::RunHook {
                container: index,
                attempt,
                hook,
                timeout,
            });
        }
    }

    pub(super) fn pre_stop_ended(&mut self, index: Index) {
        if let Some(kill) = self
            .track_mut(index)
            .running_mut()
            .and_then(|running| running.kill.as_mut())
            && kill.stage == KillStage::Hook
        {
            kill.stage = KillStage::Turn;
        }
    }

    /// Brings every stop one step on, where its time has come.
    pub(super) fn advance_kills(&mut self, now: Moment) {
        for index in self.indexes() {
            let turn = self.may_be_asked(index);
            let Some(running) = self.track_mut(index).running_mut() else {
                continue;
            };
            let signal = running.stop_signal;
            let Some(kill) = &mut running.kill else { continue };
            let over = kill.deadline <= now.steady;
            let action = match kill.stage {
                KillStage::Hook if !over => continue,
                KillStage::Turn if !over && !turn => continue,
                KillStage::Hook | KillStage::Turn => {
                    kill.stage = KillStage::Asked { at: now.steady };
                    Action::Signal {
                        container: index,
                        signal,
                    }
                }
                KillStage::Asked { .. } | KillStage::Killed { .. } => {
                    if kill.next().is_none_or(|next| next > now.steady) {
                        continue;
                    }
                    kill.stage = KillStage::Killed { at: now.steady };
                    Action::Kill { container: index }
                }
            };
            self.actions.push(action);
        }
    }

    /// Sidecars of a pod that ends are asked after all that may need them: the others, then later sidecars.
    fn may_be_asked(&self, index: Index) -> bool {
        if self.ending.is_none() || self.role(index) != Role::Sidecar {
            return true;
        }
        self.indexes().all(|other| {
            let first = self.role(other) != Role::Sidecar || other > index;
            !first || matches!(self.track(other).run, Run::Idle)
        })
    }
}

impl Kill {
    /// When the next step is due, if time brings it.
    pub(super) fn next(&self) -> Option<Steady> {
        match self.stage {
            KillStage::Hook | KillStage::Turn => Some(self.deadline),
            KillStage::Asked { at } => Some(self.deadline.max(at + signed(LEAST_SIGNAL_GRACE))),
            KillStage::Killed { at } => Some(at + signed(KILL_AGAIN)),
        }
    }
}
