//! The task that owns one pod.
//!
//! ```text
//!   Handle ──Command──► ┌────────┐ ──Input──► Machine ──Action──► Executor
//!                       │ driver │ ◄───────────────Input───────────────┘
//!   Machine::timer ───► └────────┘ ──► Statuses, EventHub, steps, SQLite
//! ```
//!
//! It takes one thing after the other: a command, an input, or its timer; gives it to the machine, begins what the
//! machine wants, and publishes the status if that changed. It ends when nothing is left of the pod, or with the daemon,
//! which leaves the pod as it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use auraed_state::{PodRow, State, Stop};
use auraed_types::pod::{Files, VolumeSource};
use auraed_types::status::ContainerState;
use auraed_types::{Pod, PodId, PodStatus, VolumeName};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::{EngineError, RecordError};
use super::events::EventHub;
use super::executor::{Executor, Kept, Recorded, settled};
use super::machine::{Action, Input, Machine};
use super::moment::Clock;
use super::record::{Mark, Marks};
use super::timeline::Steps;
use super::watch::Statuses;

/// What drivers tell the world by.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub(crate) statuses: Statuses,
    pub(crate) events: EventHub,
}

/// Where revisions come from.
pub(crate) trait Revisions: Send + 'static {
    /// A higher one than ever before.
    fn next(&self) -> u64;
}

impl Revisions for State {
    fn next(&self) -> u64 {
        self.next_revision()
    }
}

/// What the front asks of a driver.
#[derive(Debug)]
pub(crate) enum Command {
    /// The owner sent the pod again.
    Update {
        pod: Arc<Pod>,
        answer: Answer<Arc<PodStatus>>,
    },
    /// The owner wants it to end.
    Stop {
        grace: Option<Duration>,
        answer: Answer<Arc<PodStatus>>,
    },
    /// The owner wants it gone. Answered when it is.
    Remove {
        grace: Option<Duration>,
        answer: Answer<()>,
    },
    /// The owner has new content for a volume.
    UpdateFiles {
        volume: VolumeName,
        files: Files,
        answer: Answer<bool>,
    },
}

/// Where a command's result goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, EngineError>>;

/// What others see of a driver.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) steps: Arc<Mutex<Steps>>,
}

/// Owns one pod.
pub(crate) struct Driver<E, R> {
    machine: Machine,
    executor: E,
    revisions: R,
    clock: Clock,
    outlets: Arc<Outlets>,
    commands: mpsc::UnboundedReceiver<Command>,
    inputs: mpsc::UnboundedReceiver<Input>,
    steps: Arc<Mutex<Steps>>,
    stop: CancellationToken,
    /// As published last, without its revision.
    shown: Option<PodStatus>,
    /// What probes have found, as kept last.
    marked: Marks,
    /// The encoded pod without secret values, for SQLite.
    redacted: Vec<u8>,
    /// The newest write to SQLite.
    recorded: Option<Recorded>,
    removals: Vec<Answer<()>>,
}

/// What a driver is made of.
pub(crate) struct Parts<E, R> {
    pub(crate) machine: Machine,
    pub(crate) executor: E,
    pub(crate) revisions: R,
    pub(crate) clock: Clock,
    pub(crate) outlets: Arc<Outlets>,
    pub(crate) inputs: mpsc::UnboundedReceiver<Input>,
    pub(crate) stop: CancellationToken,
}

impl<E: Executor, R: Revisions> Driver<E, R> {
    /// A driver that has published the pod's status, and its handle. [`Driver::run`] begins its work.
    pub(crate) fn new(parts: Parts<E, R>) -> (Driver<E, R>, Handle) {
        let (sender, commands) = mpsc::unbounded_channel();
        let steps = Arc::new(Mutex::new(parts.machine.steps().clone()));
        let handle = Handle {
            commands: sender,
            steps: Arc::clone(&steps),
        };
        let redacted = parts.machine.pod().redacted().encode_to_vec();
        let mut driver = Driver {
            machine: parts.machine,
            executor: parts.executor,
            revisions: parts.revisions,
            clock: parts.clock,
            outlets: parts.outlets,
            commands,
            inputs: parts.inputs,
            steps,
            stop: parts.stop,
            shown: None,
            marked: Marks::new(),
            redacted,
            recorded: None,
            removals: Vec::new(),
        };
        driver.publish();
        (driver, handle)
    }

    /// Whose driver it is.
    pub(crate) fn id(&self) -> PodId {
        self.machine.pod().id.clone()
    }

    /// Begins to write a new pod to SQLite and to memory.
    pub(crate) fn keep(&mut self) -> (Recorded, Kept) {
        let pod = Arc::clone(self.machine.pod());
        (self.record(), self.executor.keep_message(&pod))
    }

    /// Works until nothing is left of the pod, and gives back who waits for that; absent if the daemon stops before.
    pub(crate) async fn run(mut self) -> Option<Vec<Answer<()>>> {
        let forgotten = self.work().await;
        self.executor.shut_down().await;
        forgotten.then_some(self.removals)
    }

    /// Whether nothing is left of the pod; else the daemon stops.
    async fn work(&mut self) -> bool {
        self.give(Input::Begin);
        while !self.machine.is_forgotten() {
            let due = self
                .machine
                .timer(self.clock.now())
                .map(|timer| self.clock.instant(timer));
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                Some(input) = self.inputs.recv() => self.give(input),
                Some(command) = self.commands.recv() => self.command(command).await,
                () = timer => self.give(Input::Tick),
            }
        }
        true
    }

    fn give(&mut self, input: Input) {
        let now = self.clock.now();
        for action in self.machine.step(now, input) {
            match action {
                Action::Event(event) => self.outlets.events.record(self.machine.pod(), now.wall, event),
                Action::Record => drop(self.record()),
                action => {
                    let pod = Arc::clone(self.machine.pod());
                    self.executor.perform(&pod, action);
                }
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        let now = self.clock.now();
        let mut status = self.machine.status(now, 0);
        self.publish_steps();
        if self.shown.as_ref() == Some(&status) || self.machine.is_forgotten() {
            return;
        }
        self.shown = Some(status.clone());
        let marks = marks(self.machine.pod(), &status);
        if marks != self.marked && !self.machine.is_finished() {
            self.executor.keep_marks(marks.clone());
            self.marked = marks;
        }
        status.revision = self.revisions.next();
        self.outlets.statuses.publish(Arc::new(status));
    }

    fn publish_steps(&self) {
        let steps = self.machine.steps();
        let mut shown = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.version() != steps.version() {
            shown.clone_from(steps);
        }
    }

    /// Begins to write what a crash must not lose.
    fn record(&mut self) -> Recorded {
        let row = self.row();
        let recorded = self.executor.record(row);
        self.recorded = Some(recorded.clone());
        recorded
    }

    fn row(&self) -> PodRow {
        let pod = self.machine.pod();
        let stop = self.machine.stop_request().map(|(requested_at, grace)| Stop {
            requested_at: requested_at.as_millisecond(),
            grace_seconds: Some(grace.as_secs()),
        });
        PodRow {
            id: pod.id.to_string(),
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            pod: self.redacted.clone(),
            created_at: self.machine.accepted_at().as_millisecond(),
            stop,
            record: self.machine.record(self.clock.now()).encode(),
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Update { pod, answer } => {
                let updated = self.update(pod).await;
                self.answer_when_recorded(answer, updated.and_then(|()| self.status()));
            }
            Command::Stop { grace, answer } => {
                self.give(Input::Stop { grace });
                self.answer_when_recorded(answer, self.status());
            }
            Command::Remove { grace, answer } => {
                self.give(Input::Remove { grace });
                self.removals.push(answer);
            }
            Command::UpdateFiles {
                volume,
                files,
                answer,
            } => {
                let updated = self.update_files(volume, files).await;
                self.answer_when_recorded(answer, updated);
            }
        }
    }

    /// Answers once all that was to be written is: the pod's life does not wait for that.
    fn answer_when_recorded<T: Send + 'static>(&self, answer: Answer<T>, result: Result<T, EngineError>) {
        let pod = self.machine.pod().id.to_string();
        let recorded = self.recorded.clone();
        tokio::spawn(async move {
            let written = match recorded {
                None => Ok(()),
                Some(recorded) => match settled(recorded).await {
                    Some(outcome) => outcome.map_err(|source| EngineError::Record { pod, source }),
                    None => Err(EngineError::Closed),
                },
            };
            // Who asked may have gone away.
            let _ = answer.send(result.and_then(|result| written.map(|()| result)));
        });
    }

    /// The newest status, as published.
    fn status(&self) -> Result<Arc<PodStatus>, EngineError> {
        let id = &self.machine.pod().id;
        self.outlets
            .statuses
            .get(id)
            .ok_or_else(|| EngineError::PodNotFound {
                reference: id.to_string(),
            })
    }

    async fn update(&mut self, pod: Arc<Pod>) -> Result<(), EngineError> {
        if self.machine.is_removing() {
            return Err(EngineError::Removing {
                pod: pod.id.to_string(),
            });
        }
        let pod = merge(self.machine.pod(), pod, self.machine.is_whole())?;
        if pod == *self.machine.pod() && self.machine.is_whole() {
            return Ok(());
        }
        self.redacted = pod.redacted().encode_to_vec();
        self.executor.set_pod(&pod);
        self.give(Input::Update(pod));
        self.keep_pod().await
    }

    async fn update_files(&mut self, volume: VolumeName, new: Files) -> Result<bool, EngineError> {
        let old = Arc::clone(self.machine.pod());
        let not_found = || EngineError::VolumeNotFound {
            pod: old.id.to_string(),
            volume: volume.to_string(),
        };
        let mut pod = Pod::clone(&old);
        let place = pod
            .volumes
            .iter_mut()
            .find(|candidate| candidate.name == volume)
            .ok_or_else(not_found)?;
        let VolumeSource::Files(content) = &mut place.source else {
            return Err(not_found());
        };
        if self.machine.is_finished() {
            return Ok(false);
        }
        // What was secret once stays so.
        let sensitive = content.sensitive || new.sensitive;
        let new = Files { sensitive, ..new };
        let same = *content == new;
        content.clone_from(&new);
        let pod = Arc::new(pod);
        let written = self.executor.update_files(&pod, &volume, &new).await;
        let changed = written.map_err(|source| EngineError::Files {
            pod: old.id.to_string(),
            volume: volume.to_string(),
            source,
        })?;
        if !same {
            self.redacted = pod.redacted().encode_to_vec();
            self.machine.set_pod(pod);
            self.keep_pod().await?;
        }
        Ok(changed)
    }

    /// Writes the pod as it is kept now to memory, and begins to write it to SQLite.
    async fn keep_pod(&mut self) -> Result<(), EngineError> {
        let pod = Arc::clone(self.machine.pod());
        let id = pod.id.to_string();
        if !self.machine.is_finished() {
            let kept = self
                .executor
                .keep_message(&pod)
                .await
                .unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
            kept.map_err(|source| EngineError::Record {
                pod: id,
                source: Arc::new(RecordError::File(source)),
            })?;
        }
        self.record();
        Ok(())
    }
}

/// What probes have found of the runs that go on. Containers without probes need no mark.
fn marks(pod: &Pod, status: &PodStatus) -> Marks {
    let probed = |container: &&auraed_types::pod::Container| {
        container.startup_probe.is_some() || container.readiness_probe.is_some()
    };
    let mark = |container: &auraed_types::pod::Container| {
        let all = status.init_containers.iter().chain(&status.containers);
        let status = all.into_iter().find(|status| status.name == container.name)?;
        let running = matches!(status.state, ContainerState::Running { .. });
        let id = status.container_id.clone().filter(|_| running)?;
        Some((
            id,
            Mark {
                started: status.started,
                ready: status.ready,
            },
        ))
    };
    pod.all_containers().filter(probed).filter_map(mark).collect()
}

/// What a repeat of a pod changes: what may, of a pod that runs; all but its containers' names, of one that waits for
/// its secret values.
fn merge(old: &Arc<Pod>, new: Arc<Pod>, whole: bool) -> Result<Arc<Pod>, EngineError> {
    let names = |pod: &Pod| {
        let names = |containers: &[auraed_types::pod::Container]| {
            containers
                .iter()
                .map(|container| container.name.clone())
                .collect::<Vec<_>>()
        };
        (names(&pod.init_containers), names(&pod.containers))
    };
    if names(old) != names(&new) {
        let problem = auraed_types::Problem {
            field: "containers".to_owned(),
            reason: "the containers of a pod cannot change: remove the pod, or give another id".to_owned(),
        };
        return Err(EngineError::Refused {
            problems: vec![problem],
        });
    }
    if !whole {
        return Ok(new);
    }
    let mut pod = Pod::clone(old);
    pod.labels.clone_from(&new.labels);
    pod.annotations.clone_from(&new.annotations);
    pod.generation = new.generation;
    pod.active_deadline = new.active_deadline;
    pod.credentials.clone_from(&new.credentials);
    let ours = pod.init_containers.iter_mut().chain(&mut pod.containers);
    for (ours, theirs) in ours.zip(new.all_containers()) {
        ours.image.clone_from(&theirs.image);
    }
    Ok(Arc::new(pod))
}

#[cfg(test)]
mod tests;
