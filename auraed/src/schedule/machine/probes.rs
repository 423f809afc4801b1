//! Probes of a run: when they are asked and what their answers change.

use std::time::Duration;

use auraed_types::pod::{Container, Probe};

use super::action::Action;
use super::input::Probed;
use super::{Index, Machine, ProbeKind};
use crate::schedule::moment::{Moment, Steady, signed};

/// An answer that says nothing is asked for again at once, this often in all.
const TRIES: u32 = 3;

/// The probes of one run.
#[derive(Debug, Default)]
pub(super) struct Probes {
    startup: Option<ProbeState>,
    readiness: Option<ProbeState>,
    liveness: Option<ProbeState>,
}

/// One probe of a run.
#[derive(Debug)]
struct ProbeState {
    next: Steady,
    asked: bool,
    tries: u32,
    /// Equal answers in a row, and which.
    row: (bool, u32),
    /// What it stands for now.
    passed: bool,
    /// Not asked any more: it has passed for good, or has failed for good.
    over: bool,
}

impl Probes {
    pub(super) fn new(container: &Container, started: Steady) -> Probes {
        let state = |probe: &Option<Probe>, passed| {
            probe
                .as_ref()
                .map(|probe| ProbeState::new(started + signed(probe.initial_delay), passed))
        };
        Probes {
            startup: state(&container.startup_probe, false),
            readiness: state(&container.readiness_probe, false),
            liveness: state(&container.liveness_probe, true),
        }
    }

    /// A run that an earlier daemon started: what it knew is believed until the first answer.
    pub(super) fn adopted(container: &Container, now: Steady, started: bool, ready: bool) -> Probes {
        let mut probes = Probes::new(container, now);
        if let Some(startup) = &mut probes.startup {
            (startup.passed, startup.over) = (started, started);
        }
        if let Some(readiness) = &mut probes.readiness {
            (readiness.passed, readiness.next) = (ready, now);
        }
        probes
    }

    /// It runs, and its startup probe, if any, has passed.
    pub(super) fn started(&self) -> bool {
        self.startup.as_ref().is_none_or(|probe| probe.passed)
    }

    /// It can serve.
    pub(super) fn ready(&self) -> bool {
        self.started() && self.readiness.as_ref().is_none_or(|probe| probe.passed)
    }

    fn state(&mut self, kind: ProbeKind) -> Option<&mut ProbeState> {
        match kind {
            ProbeKind::Startup => self.startup.as_mut(),
            ProbeKind::Readiness => self.readiness.as_mut(),
            ProbeKind::Liveness => self.liveness.as_mut(),
        }
    }

    /// The probes that are asked in this state of the run.
    fn active(&mut self, ending: bool) -> impl Iterator<Item = (ProbeKind, &mut ProbeState)> {
        let started = self.started();
        let kinds = [
            (ProbeKind::Startup, self.startup.as_mut().filter(|_| !ending)),
            (ProbeKind::Readiness, self.readiness.as_mut().filter(|_| started)),
            (
                ProbeKind::Liveness,
                self.liveness.as_mut().filter(|_| started && !ending),
            ),
        ];
        kinds
            .into_iter()
            .filter_map(|(kind, state)| Some((kind, state?)))
            .filter(|(_, state)| !state.over)
    }
}

impl ProbeState {
    fn new(next: Steady, passed: bool) -> ProbeState {
        ProbeState {
            next,
            asked: false,
            tries: 0,
            row: (passed, 0),
            passed,
            over: false,
        }
    }

    /// Notes an answer; tells whether the probe now stands for something else, or stands for failure anew.
    fn answered(&mut self, success: bool, probe: &Probe) -> bool {
        self.tries = 0;
        self.row = if self.row.0 == success {
            (success, self.row.1.saturating_add(1))
        } else {
            (success, 1)
        };
        let enough = if success {
            probe.success_threshold
        } else {
            probe.failure_threshold
        };
        if self.row.1 < enough {
            return false;
        }
        let changed = self.passed != success;
        self.passed = success;
        changed || !success
    }
}

impl ProbeKind {
    fn name(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Liveness => "Liveness",
        }
    }

    /// The probe of that kind.
    pub(crate) fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            ProbeKind::Startup => container.startup_probe.as_ref(),
            ProbeKind::Readiness => container.readiness_probe.as_ref(),
            ProbeKind::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

impl Machine {
    /// Asks the probes whose time has come.
    pub(super) fn advance_probes(&mut self, now: Moment) {
        let ending = self.ending.is_some();
        for index in self.indexes() {
            let Some(running) = self.tracks[index.0].running_mut() else {
                continue;
            };
            let attempt = running.attempt;
            for (kind, state) in running.probes.active(ending) {
                if !state.asked && state.next <= now.steady {
                    state.asked = true;
                    self.actions.push(Action::Probe {
                        container: index,
                        attempt,
                        kind,
                    });
                }
            }
        }
    }

    /// When probes are due.
    pub(super) fn probe_times(&self) -> Vec<Steady> {
        let ending = self.ending.is_some();
        let mut times = Vec::new();
        for running in self.tracks.iter().filter_map(|track| track.running()) {
            let started = running.probes.started();
            let states = [
                running.probes.startup.as_ref().filter(|_| !ending),
                running.probes.readiness.as_ref().filter(|_| started),
                running.probes.liveness.as_ref().filter(|_| started && !ending),
            ];
            times.extend(
                states
                    .into_iter()
                    .flatten()
                    .filter(|state| !state.asked && !state.over)
                    .map(|state| state.next),
            );
        }
        times
    }

    pub(super) fn probed(
        &mut self,
        now: Moment,
        index: Index,
        attempt: u32,
        kind: ProbeKind,
        outcome: Probed,
    ) {
        let Some(probe) = kind.of(self.spec(index)).cloned() else {
            return;
        };
        let ending = self.ending.is_some();
        let Some(running) = self.track_mut(index).running_attempt(attempt) else {
            return;
        };
        let started = running.probes.started();
        let Some(state) = running.probes.state(kind) else {
            return;
        };
        if !std::mem::take(&mut state.asked) {
            return;
        }
        state.schedule(now, &probe);
        let (success, event) = match &outcome {
            Probed::Success => (Some(true), None),
            Probed::Warning(what) => (
                Some(true),
                Some(("ProbeWarning", format!("{} probe warning: {what}", kind.name()))),
            ),
            Probed::Failure(what) => (
                Some(false),
                Some(("Unhealthy", format!("{} probe failed: {what}", kind.name()))),
            ),
            Probed::Unknown(what) => {
                state.tries += 1;
                if state.tries < TRIES {
                    state.next = now.steady;
                } else {
                    state.tries = 0;
                }
                let message = format!(
                    "{} probe errored and resulted in unknown state: {what}",
                    kind.name()
                );
                (None, Some(("Unhealthy", message)))
            }
        };
        let turned = success.is_some_and(|success| state.answered(success, &probe));
        let stands = state.passed;
        if turned && kind != ProbeKind::Readiness {
            // Startup has its answer for good; a failed one of either kind waits for a new run.
            state.over = kind == ProbeKind::Startup || !stands;
        }
        if kind == ProbeKind::Startup && !started && running.probes.started() {
            running.probes.started_now(now.steady);
        }
        if let Some((reason, message)) = event {
            self.event(Some(index), true, reason, message);
        }
        if turned && !stands && kind != ProbeKind::Readiness && !ending {
            let failed = format!("failed {} probe", kind.name().to_lowercase());
            let message = format!("Container {} {failed}, will be restarted", self.name(index));
            let grace: Duration = probe.termination_grace.unwrap_or(self.pod.grace_period);
            self.begin_kill(now, index, grace, message);
        }
    }
}

impl Probes {
    /// The startup probe has passed: the others begin at once, each after its own delay.
    fn started_now(&mut self, now: Steady) {
        for state in [&mut self.readiness, &mut self.liveness].into_iter().flatten() {
            state.next = state.next.max(now);
        }
    }
}

impl ProbeState {
    /// The next asking is a whole number of periods after this one, and not in the past.
    fn schedule(&mut self, now: Moment, probe: &Probe) {
        let period = signed(probe.period);
        self.next += period;
        if self.next <= now.steady {
            self.next = now.steady + period;
        }
    }
}
