//! A pod's life as a plain value: inputs with a time go in, actions come out. No I/O, no clock, no task.
//!
//! ```text
//!            volumes ─┐
//!   accepted ─────────┼─► init containers in order ─► containers ⟲ restarts ─► all ended ─┐
//!            sandbox ─┘        ▲                                                            │
//!               ▲              └────────── the pod's init was lost: a new sandbox ──────────┤
//!               │                                                                           ▼
//!               └── stop, deadline (from anywhere) ─► stopping ─► sandbox gone ─► finished ─► forgotten
//! ```
//!
//! [`Machine::step`] notes what the input says ([`apply`]), then looks at everything and asks for what is missing
//! ([`run`], [`stop`]): it never matters in which order inputs come. What was asked for is noted as being under way, so
//! that it is asked for once. [`Machine::status`] tells the whole at any time, [`Machine::timer`] when to look again.

mod action;
mod apply;
mod input;
mod phase;
mod probes;
mod restore;
mod run;
mod sandbox;
mod status;
mod stop;
mod timer;
mod track;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use auraed_types::pod::{Container, RestartPolicy};
use auraed_types::status::Phase;
use auraed_types::{ContainerName, Pod, PodStatus};
use jiff::Timestamp;

pub(crate) use action::{Action, Start};
pub(crate) use input::{
    Exit, HookKind, ImageFacts, ImageFailure, Input, Probed, Pulled, SandboxFacts, StartFailure,
};
pub(crate) use restore::{Found, FoundContainer, FoundRun, FoundSandbox, FoundState};

use super::events::NewEvent;
use super::moment::{Moment, Steady};
use super::record::{Record, RecordedEnd};
use super::timeline::Steps;
use sandbox::{Sandbox, Volumes};
use stop::{Cause, Ending};
use track::{Run, Track};

/// A container of the pod by its place: init containers first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Index(pub(crate) usize);

/// Which probe of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ProbeKind {
    /// Has it started?
    Startup,
    /// Can it serve?
    Readiness,
    /// Must it be restarted?
    Liveness,
}

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next.
    Init,
    /// Starts in order, runs beside the others, stops after them.
    Sidecar,
    /// What the pod is for.
    Main,
}

/// How far the pod is past its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    NotYet,
    /// Nothing runs and nothing will.
    Finished,
    /// All is given back but logs and records.
    CleanedUp,
    /// Being removed.
    Forgetting,
    /// Nothing is left.
    Forgotten,
}

/// One pod.
#[derive(Debug)]
pub(crate) struct Machine {
    pod: Arc<Pod>,
    accepted: Moment,
    /// The pod has its secret values.
    whole: bool,
    sandbox: Sandbox,
    volumes: Volumes,
    tracks: Vec<Track>,
    /// All init containers are through, in this sandbox.
    initialized: bool,
    ending: Option<Ending>,
    end: End,
    removing: bool,
    /// As last shown: a terminal phase is held back until nothing runs.
    phase: Phase,
    /// The last status of a pod that an earlier daemon finished.
    frozen: Option<PodStatus>,
    steps: Steps,
    actions: Vec<Action>,
}

impl Machine {
    /// A new pod, accepted now.
    pub(crate) fn new(pod: Arc<Pod>, now: Moment) -> Machine {
        let tracks = pod.all_containers().map(|_| Track::default()).collect();
        let mut steps = Steps::new(now);
        steps.mark("accepted", "", now, "");
        Machine {
            pod,
            accepted: now,
            whole: true,
            sandbox: Sandbox::default(),
            volumes: Volumes::default(),
            tracks,
            initialized: false,
            ending: None,
            end: End::NotYet,
            removing: false,
            phase: Phase::Pending,
            frozen: None,
            steps,
            actions: Vec::new(),
        }
    }

    /// Takes one input and says what is to be done now.
    pub(crate) fn step(&mut self, now: Moment, input: Input) -> Vec<Action> {
        self.apply(now, input);
        self.advance(now);
        std::mem::take(&mut self.actions)
    }

    /// The pod as it is kept now.
    pub(crate) fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Replaces the pod by one that differs only in the content of its files.
    pub(crate) fn set_pod(&mut self, pod: Arc<Pod>) {
        self.pod = pod;
    }

    /// When the pod was accepted.
    pub(crate) fn accepted_at(&self) -> Timestamp {
        self.accepted.wall
    }

    /// It has its secret values, or needs none.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Nothing runs and nothing will.
    pub(crate) fn is_finished(&self) -> bool {
        self.end >= End::Finished
    }

    /// Nothing is left; the driver may end.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.end == End::Forgotten
    }

    /// Somebody wants it gone.
    pub(crate) fn is_removing(&self) -> bool {
        self.removing
    }

    /// The steps of its start.
    pub(crate) fn steps(&self) -> &Steps {
        &self.steps
    }

    /// What a crash must not lose.
    pub(crate) fn record(&self, now: Moment) -> Record {
        let end = self
            .ending
            .as_ref()
            .filter(|ending| ending.cause == Cause::Deadline)
            .map(|_| RecordedEnd::Deadline);
        Record {
            sandbox_attempt: self.sandbox.attempt,
            end,
            finished: self.is_finished().then(|| self.status(now, 0)),
            removing: self.removing,
            ..Record::default()
        }
    }

    /// When a stop was asked for, and with what grace.
    pub(crate) fn stop_request(&self) -> Option<(Timestamp, Duration)> {
        let (requested, grace) = self.ending.as_ref()?.asked?;
        Some((requested.wall, grace))
    }

    /// Asks for what is missing. Each part asks for nothing twice.
    fn advance(&mut self, now: Moment) {
        if self.end == End::NotYet {
            self.check_active_deadline(now);
            if self.ending.is_none() {
                self.advance_running(now);
            }
            if self.ending.is_some() {
                self.advance_stopping(now);
            } else {
                self.advance_kills(now);
            }
            self.advance_probes(now);
        }
        if self.end == End::CleanedUp && self.removing {
            self.end = End::Forgetting;
            self.actions.push(Action::Forget);
        }
        self.update_phase(now);
        self.note_ready(now);
    }

    /// The last step of a start: everything serves for the first time.
    fn note_ready(&mut self, now: Moment) {
        let ready = |index| {
            self.track(index)
                .running()
                .is_some_and(|running| running.probes.ready())
        };
        if !self.steps.is_complete() && self.indexes_of(Role::Main).all(ready) {
            self.steps.complete("ready", now);
        }
    }

    fn spec(&self, index: Index) -> &Container {
        let init = self.pod.init_containers.len();
        match index.0.checked_sub(init) {
            None => &self.pod.init_containers[index.0],
            Some(place) => &self.pod.containers[place],
        }
    }

    fn name(&self, index: Index) -> &ContainerName {
        &self.spec(index).name
    }

    fn role(&self, index: Index) -> Role {
        match self.pod.init_containers.get(index.0) {
            Some(container) if container.sidecar => Role::Sidecar,
            Some(_) => Role::Init,
            None => Role::Main,
        }
    }

    fn indexes(&self) -> impl DoubleEndedIterator<Item = Index> + use<> {
        (0..self.tracks.len()).map(Index)
    }

    fn indexes_of(&self, role: Role) -> impl Iterator<Item = Index> + '_ {
        self.indexes().filter(move |&index| self.role(index) == role)
    }

    fn track(&self, index: Index) -> &Track {
        &self.tracks[index.0]
    }

    fn track_mut(&mut self, index: Index) -> &mut Track {
        &mut self.tracks[index.0]
    }

    fn is_idle(&self, index: Index) -> bool {
        matches!(self.track(index).run, Run::Idle)
    }

    /// Whether the newest run of a container counts as failed: an exit code, or memory that ran out.
    fn newest_failed(&self, index: Index) -> bool {
        self.track(index).newest.as_ref().is_some_and(track::Past::failed)
    }

    fn policy(&self) -> RestartPolicy {
        self.pod.restart_policy
    }

    fn event(&mut self, container: Option<Index>, warning: bool, reason: &'static str, message: String) {
        let container = container.map(|index| self.name(index).clone());
        self.actions.push(Action::Event(NewEvent {
            container,
            warning,
            reason,
            message,
        }));
    }
}

/// The later of two optional times.
fn later(one: Option<Steady>, other: Option<Steady>) -> Option<Steady> {
    one.max(other)
}
