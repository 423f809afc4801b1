//! What a pod shows.

use auraed_types::PodStatus;
use auraed_types::status::{ContainerState, ContainerStatus, Terminated};

use super::phase::DEADLINE_MESSAGE;
use super::stop::Cause;
use super::track::{Fetch, Run, Track};
use super::{Index, Machine, Role};
use crate::schedule::moment::Moment;

/// What a pod says whose secret values are gone.
const SECRETS_MISSING: (&str, &str) = (
    "SecretsMissing",
    "the pod's secret values were kept in memory alone and are gone; waiting for its owner to send the pod again",
);

impl Machine {
    /// The whole, as of now.
    pub(crate) fn status(&self, now: Moment, revision: u64) -> PodStatus {
        if let Some(frozen) = &self.frozen {
            return PodStatus {
                observed_generation: self.pod.generation,
                labels: self.pod.labels.clone(),
                revision,
                ..frozen.clone()
            };
        }
        let statuses = |role: fn(Role) -> bool| {
            self.indexes()
                .filter(|&index| role(self.role(index)))
                .map(|index| self.container_status(now, index))
                .collect::<Vec<_>>()
        };
        let (reason, message) = match &self.ending {
            Some(ending) if ending.cause == Cause::Deadline => ("DeadlineExceeded", DEADLINE_MESSAGE),
            None if !self.whole => SECRETS_MISSING,
            _ => ("", ""),
        };
        PodStatus {
            id: self.pod.id.clone(),
            name: self.pod.name.clone(),
            namespace: self.pod.namespace.clone(),
            observed_generation: self.pod.generation,
            phase: self.phase,
            reason: reason.to_owned(),
            message: message.to_owned(),
            sandbox: self.sandbox.status(),
            init_containers: statuses(|role| role != Role::Main),
            containers: statuses(|role| role == Role::Main),
            started_at: self.accepted.wall,
            stopping: self.ending.as_ref().is_some_and(|ending| ending.asked.is_some()),
            finished: self.is_finished(),
            labels: self.pod.labels.clone(),
            source: self.pod.source.clone(),
            revision,
        }
    }

    pub(super) fn container_status(&self, now: Moment, index: Index) -> ContainerStatus {
        let track = self.track(index);
        let (state, last_state) = self.states(now, index);
        let running = track.running();
        let started = running.is_some_and(|running| running.probes.started());
        let ready = match self.role(index) {
            Role::Init => track.newest.as_ref().is_some_and(|past| !past.failed()) && running.is_none(),
            _ => running.is_some_and(|running| running.probes.ready()),
        };
        let newest_id = track
            .newest
            .as_ref()
            .and_then(|past| past.terminated.container_id.clone());
        let attempt = match (running, &track.newest) {
            (Some(running), _) => running.attempt,
            (None, Some(past)) => past.attempt,
            (None, None) => 0,
        };
        ContainerStatus {
            name: self.name(index).clone(),
            container_id: running.map(|running| running.id.clone()).or(newest_id),
            image: self.spec(index).image.clone(),
            image_id: track.image_shown.clone(),
            restart_count: attempt,
            ready,
            started,
            state,
            last_state,
        }
    }

    /// State and last state of a container.
    fn states(&self, now: Moment, index: Index) -> (ContainerState, Option<Terminated>) {
        let track = self.track(index);
        let newest = track.newest.as_ref().map(|past| past.terminated.clone());
        let previous = track.previous.as_ref().map(|past| past.terminated.clone());
        if let Some(running) = track.running() {
            return (
                ContainerState::Running {
                    started_at: running.since,
                },
                newest,
            );
        }
        if let Some((reason, message)) = self.waiting(now, index) {
            return (ContainerState::Waiting { reason, message }, newest);
        }
        match newest {
            Some(newest) => (ContainerState::Terminated(newest), previous),
            None if self.is_finished() && self.counts_as_initialized() => {
                (ContainerState::Terminated(never_started()), None)
            }
            None => {
                let reason = if self.pod.init_containers.is_empty() {
                    "ContainerCreating"
                } else {
                    "PodInitializing"
                };
                (
                    ContainerState::Waiting {
                        reason: reason.to_owned(),
                        message: String::new(),
                    },
                    None,
                )
            }
        }
    }

    /// Why a container that should run does not, where there is more to say than that it is being made.
    fn waiting(&self, now: Moment, index: Index) -> Option<(String, String)> {
        let track = self.track(index);
        if self.ending.is_some() || !self.should_start(index) {
            return None;
        }
        if let Some(trouble) = track.trouble.as_ref().filter(|trouble| !trouble.ran) {
            return Some((trouble.reason.to_owned(), trouble.message.clone()));
        }
        if let Some((reason, message)) = image_trouble(track, &self.spec(index).image, now) {
            return Some((reason.to_owned(), message));
        }
        let past = track.newest.as_ref()?;
        if let Some((delay, until)) = track.restarts.wait(past.finished)
            && until > now.steady
        {
            return Some((
                "CrashLoopBackOff".to_owned(),
                self.crash_loop_message(index, delay),
            ));
        }
        track
            .trouble
            .as_ref()
            .map(|trouble| (trouble.reason.to_owned(), trouble.message.clone()))
    }

    /// Whether containers that never started count as lost when the pod is stopped, not as waiting for init containers.
    fn counts_as_initialized(&self) -> bool {
        self.pod.init_containers.is_empty()
            || self.initialized
            || self.indexes_of(Role::Main).any(|index| {
                let track = self.track(index);
                track.newest.is_some() || !matches!(track.run, Run::Idle)
            })
    }
}

fn image_trouble(track: &Track, image: &str, now: Moment) -> Option<(&'static str, String)> {
    let Fetch::Failed {
        reason,
        message,
        fresh_until,
        backs_off,
        ..
    } = &track.image
    else {
        return None;
    };
    if *backs_off && *fresh_until <= now.steady {
        return Some((
            "ImagePullBackOff",
            format!("Back-off pulling image \"{image}\": {reason}: {message}"),
        ));
    }
    Some((reason, message.clone()))
}

/// What is said of a container that a stop kept from ever starting.
fn never_started() -> Terminated {
    Terminated {
        exit_code: 137,
        signal: 0,
        reason: "ContainerStatusUnknown".to_owned(),
        message: "The container could not be located when the pod was terminated".to_owned(),
        started_at: None,
        finished_at: None,
        container_id: None,
    }
}
