//! What each input changes. Inputs about things of the past are ignored: they cross with actions.

use std::sync::Arc;

use auraed_types::Pod;
use auraed_types::status::Terminated;

use super::input::{Exit, HookKind, ImageFacts, ImageFailure, Input, Pulled, StartFailure};
use super::probes::Probes;
use super::stop::Cause;
use super::track::{FRESH, Fetch, Past, Run, Running, TROUBLE_DELAY, Trouble};
use super::{Action, End, Index, Machine, Role};
use crate::schedule::backoff::{FIRST, Failures, LONGEST, Restarts};
use crate::schedule::moment::{Moment, signed};

impl Machine {
    pub(super) fn apply(&mut self, now: Moment, input: Input) {
        match input {
            Input::Begin => self.begin(now),
            Input::Update(pod) => self.update(now, pod),
            Input::Stop { grace } => self.stop(now, grace),
            Input::Remove { grace } => self.remove(now, grace),
            Input::VolumesReady => self.volumes_ready(now),
            Input::VolumeFailed { volume, message } => self.volume_failed(now, &volume, &message),
            Input::SandboxCreated(facts) => self.sandbox_created(now, facts),
            Input::SandboxFailed { message } => self.sandbox_failed(now, &message),
            Input::SandboxLost { exits } => self.sandbox_lost(now, exits),
            Input::SandboxDestroyed => self.sandbox_destroyed(),
            Input::Pulling { container } => {
                let message = format!("Pulling image \"{}\"", self.spec(container).image);
                self.event(Some(container), false, "Pulling", message);
            }
            Input::ImageReady {
                container,
                image,
                pulled,
            } => self.image_ready(now, container, image, pulled),
            Input::ImageFailed { container, failure } => self.image_failed(now, container, failure),
            Input::Started {
                container,
                attempt,
                id,
                started_at,
                detail,
            } => {
                self.started(now, container, attempt, id, started_at);
                let subject = self.name(container).to_string();
                self.steps.end("container", &subject, now, &detail);
            }
            Input::StartFailed {
                container,
                attempt,
                failure,
            } => self.start_failed(now, container, attempt, failure),
            Input::Exited(exit) => {
                let index = exit.container;
                self.exited(now, exit);
                self.tell_restart_delay(now, index);
            }
            Input::HookEnded {
                container,
                attempt,
                hook,
                result,
            } => {
                self.hook_ended(now, container, attempt, hook, result);
            }
            Input::Probed {
                container,
                attempt,
                kind,
                outcome,
            } => self.probed(now, container, attempt, kind, outcome),
            Input::CleanedUp => self.end = self.end.max(End::CleanedUp),
            Input::Forgotten => self.end = End::Forgotten,
            Input::Tick => {}
        }
    }

    /// What was restored goes on: a pod that had finished only has to be cleaned up, in case that was cut off.
    fn begin(&mut self, _now: Moment) {
        if self.end == End::Finished {
            self.actions.push(Action::CleanUp);
        }
    }

    fn update(&mut self, now: Moment, new: Arc<Pod>) {
        if !self.whole {
            // What was kept of it lacks secrets; what its owner sends has all.
            self.whole = true;
        }
        let old = std::mem::replace(&mut self.pod, new);
        if self.is_finished() {
            return;
        }
        for index in self.indexes() {
            let changed = old
                .all_containers()
                .nth(index.0)
                .is_some_and(|old| old.image != self.spec(index).image);
            if changed {
                self.image_changed(now, index);
            }
        }
    }

    fn image_changed(&mut self, now: Moment, index: Index) {
        let track = self.track_mut(index);
        track.restarts = Restarts::default();
        track.pulls = Failures::default();
        track.trouble = None;
        if matches!(track.image, Fetch::Fetching) {
            self.actions.push(Action::CancelFetch { container: index });
        }
        let track = self.track_mut(index);
        track.image = Fetch::Needed;
        if !self.is_idle(index) && self.role(index) != Role::Init {
            self.track_mut(index).changed = true;
            self.kill_changed(now, index);
        }
    }

    /// Stops a container that runs an older image than its pod now says.
    fn kill_changed(&mut self, now: Moment, index: Index) {
        let message = format!(
            "Container {} definition changed, will be restarted",
            self.name(index)
        );
        let grace = self.pod.grace_period;
        self.begin_kill(now, index, grace, message);
    }

    fn remove(&mut self, now: Moment, grace: Option<std::time::Duration>) {
        if !self.removing {
            self.removing = true;
            // What is cleaned up already is forgotten at once: that is written then.
            if self.end < End::CleanedUp {
                self.actions.push(Action::Record);
            }
        }
        self.stop(now, grace);
    }

    fn image_ready(&mut self, now: Moment, index: Index, image: ImageFacts, pulled: Option<Pulled>) {
        if !matches!(self.track(index).image, Fetch::Fetching) || self.ending.is_some() {
            return;
        }
        let name = &self.spec(index).image;
        let message = match pulled {
            Some(Pulled { took, size_bytes }) => {
                let seconds = took.as_secs_f64();
                format!(
                    "Successfully pulled image \"{name}\" in {seconds:.3}s ({seconds:.3}s including waiting). \
                     Image size: {size_bytes} bytes."
                )
            }
            None => format!(
                "Container image \"{name}\" already present on machine and can be accessed by the pod"
            ),
        };
        self.event(Some(index), false, "Pulled", message);
        let detail = if pulled.is_some() { "pulled" } else { "present" };
        let subject = self.name(index).to_string();
        self.steps.end("image", &subject, now, detail);
        let track = self.track_mut(index);
        track.pulls.succeeded();
        track.image_shown.clone_from(&image.shown);
        track.image = Fetch::Ready(image);
    }

    fn image_failed(&mut self, now: Moment, index: Index, failure: ImageFailure) {
        if !matches!(self.track(index).image, Fetch::Fetching) || self.ending.is_some() {
            return;
        }
        let image = self.spec(index).image.clone();
        let mut backs_off = false;
        let (reason, message) = match failure {
            ImageFailure::InvalidName(why) => {
                let message = format!(
                    "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {why}"
                );
                self.event(Some(index), true, "InspectFailed", message.clone());
                ("InvalidImageName", message)
            }
            ImageFailure::NeverPull => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                self.event(Some(index), true, "ErrImageNeverPull", message.clone());
                ("ErrImageNeverPull", message)
            }
            ImageFailure::Pull(why) => {
                backs_off = true;
                self.event(
                    Some(index),
                    true,
                    "Failed",
                    format!("Failed to pull image \"{image}\": {why}"),
                );
                ("ErrImagePull", why)
            }
        };
        self.event(Some(index), true, "Failed", format!("Error: {reason}"));
        let subject = self.name(index).to_string();
        self.steps.end("image", &subject, now, reason);
        let track = self.track_mut(index);
        let delay = if backs_off {
            track.pulls.failed(FIRST, LONGEST)
        } else {
            TROUBLE_DELAY
        };
        track.image = Fetch::Failed {
            reason,
            message,
            fresh_until: now.steady + signed(FRESH),
            until: now.steady + signed(delay),
            backs_off,
        };
        track.tried = true;
        if backs_off {
            self.event(
                Some(index),
                false,
                "BackOff",
                format!("Back-off pulling image \"{image}\""),
            );
        }
    }

    fn started(
        &mut self,
        now: Moment,
        index: Index,
        attempt: u32,
        id: auraed_types::ContainerId,
        since: jiff::Timestamp,
    ) {
        let Run::Starting {
            attempt: wanted,
            sandbox,
            image,
        } = &self.track(index).run
        else {
            return;
        };
        if *wanted != attempt {
            return;
        }
        let (stop_signal, sandbox) = (image.stop_signal, *sandbox);
        let post_start = self.spec(index).post_start.is_some();
        let probes = Probes::new(self.spec(index), now.steady);
        let track = self.track_mut(index);
        track.next_attempt = attempt + 1;
        track.tried = true;
        track.run = Run::Running(Box::new(Running {
            attempt,
            id,
            sandbox,
            since,
            stop_signal,
            hooked: post_start,
            probes,
            kill: None,
        }));
        self.event(Some(index), false, "Created", "Container created".to_owned());
        self.event(Some(index), false, "Started", "Container started".to_owned());
        if !self.sandbox.is_ready() || sandbox != self.sandbox.attempt {
            // The news of the sandbox's end overtook that of the start.
            self.lost(now, index);
        } else if self.track(index).changed {
            self.kill_changed(now, index);
        } else if post_start && self.ending.is_none() {
            let hook = HookKind::PostStart;
            self.actions.push(Action::RunHook {
                container: index,
                attempt,
                hook,
                timeout: None,
            });
        }
    }

    fn start_failed(&mut self, now: Moment, index: Index, attempt: u32, failure: StartFailure) {
        let Run::Starting {
            attempt: wanted,
            sandbox,
            ..
        } = self.track(index).run
        else {
            return;
        };
        if wanted != attempt {
            return;
        }
        let (reason, message, ran) = match failure {
            StartFailure::SandboxGone => return self.start_undone(index),
            StartFailure::Config(message) => ("CreateContainerConfigError", message, None),
            StartFailure::Create(message) => ("CreateContainerError", message, None),
            StartFailure::Run { id, message } => ("RunContainerError", message, Some(id)),
        };
        self.event(Some(index), true, "Failed", format!("Error: {message}"));
        let subject = self.name(index).to_string();
        self.steps.end("container", &subject, now, reason);
        let track = self.track_mut(index);
        track.tried = true;
        let retry_at = now.steady + signed(TROUBLE_DELAY);
        track.trouble = Some(Trouble {
            reason,
            message: message.clone(),
            retry_at,
            ran: ran.is_some(),
        });
        let Some(id) = ran else {
            track.run = Run::Idle;
            return;
        };
        let terminated = Terminated {
            exit_code: 128,
            signal: 0,
            reason: "StartError".to_owned(),
            message,
            started_at: None,
            finished_at: Some(now.wall),
            container_id: Some(id),
        };
        track.ended(Past {
            attempt,
            sandbox,
            finished: now.steady,
            terminated,
        });
        self.tell_restart_delay(now, index);
    }

    pub(super) fn exited(&mut self, now: Moment, exit: Exit) {
        let track = self.track_mut(exit.container);
        let sandbox = match &track.run {
            Run::Running(running) if running.attempt == exit.attempt => running.sandbox,
            // It ended before anybody heard that it had started. What could not be started at all is told otherwise.
            Run::Starting { attempt, .. } if *attempt == exit.attempt && !exit.start_failed => {
                let (container, attempt) = (exit.container, exit.attempt);
                self.started(now, container, attempt, exit.id.clone(), exit.started_at);
                return self.exited(now, exit);
            }
            _ => return,
        };
        let finished = now.steady_of(exit.finished_at);
        let terminated = terminated(&exit);
        track.ended(Past {
            attempt: exit.attempt,
            sandbox,
            finished,
            terminated,
        });
    }

    fn hook_ended(
        &mut self,
        now: Moment,
        index: Index,
        attempt: u32,
        hook: HookKind,
        result: Result<(), String>,
    ) {
        let Some(running) = self.track_mut(index).running_attempt(attempt) else {
            return;
        };
        match hook {
            HookKind::PostStart => {
                running.hooked = false;
                let Err(why) = result else { return };
                tracing::debug!(reason = %why, "a postStart hook failed");
                self.event(
                    Some(index),
                    true,
                    "FailedPostStartHook",
                    "PostStartHook failed".to_owned(),
                );
                let retry_at = now.steady + signed(TROUBLE_DELAY);
                let trouble = Trouble {
                    reason: "PostStartHookError",
                    message: why,
                    retry_at,
                    ran: true,
                };
                self.track_mut(index).trouble = Some(trouble);
                let grace = self.pod.grace_period;
                self.begin_kill(now, index, grace, "FailedPostStartHook".to_owned());
            }
            HookKind::PreStop => {
                if result.is_err() {
                    self.event(
                        Some(index),
                        true,
                        "FailedPreStopHook",
                        "PreStopHook failed".to_owned(),
                    );
                }
                self.pre_stop_ended(index);
            }
        }
    }

    /// Ends the pod when its time is over.
    pub(super) fn check_active_deadline(&mut self, now: Moment) {
        let Some(deadline) = self.pod.active_deadline else {
            return;
        };
        if self.ending.is_none() && self.accepted.steady + signed(deadline) <= now.steady {
            self.event(
                None,
                false,
                "DeadlineExceeded",
                super::phase::DEADLINE_MESSAGE.to_owned(),
            );
            let grace = self.pod.grace_period;
            self.begin_ending(now, Cause::Deadline, grace);
            self.actions.push(Action::Record);
        }
    }
}

/// How a run ended, in the words that people know.
pub(super) fn terminated(exit: &Exit) -> Terminated {
    let reason = match exit {
        Exit {
            start_failed: true, ..
        } => "StartError",
        Exit { oom_killed: true, .. } => "OOMKilled",
        Exit { exit_code: 0, .. } => "Completed",
        _ => "Error",
    };
    Terminated {
        exit_code: exit.exit_code,
        signal: exit.signal,
        reason: reason.to_owned(),
        message: exit.message.clone(),
        started_at: Some(exit.started_at),
        finished_at: Some(exit.finished_at),
        container_id: Some(exit.id.clone()),
    }
}
