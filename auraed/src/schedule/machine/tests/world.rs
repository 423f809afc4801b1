//! A node that does what the machine asks, at once, and fails where a test wants it to.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use auraed_api::runtime::v0 as runtime;
use auraed_api::schedule::v0 as api;
use auraed_types::status::{ContainerState, ContainerStatus, Phase};
use auraed_types::{ContainerId, Pod, PodStatus};
use jiff::Timestamp;

use crate::schedule::machine::{
    Action, Exit, ImageFacts, ImageFailure, Index, Input, Machine, ProbeKind, Probed, SandboxFacts,
    StartFailure,
};
use crate::schedule::moment::{Moment, signed};

/// A pod under test and its node.
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) now: Moment,
    answers: VecDeque<Input>,
    /// All actions so far.
    pub(super) actions: Vec<Action>,
    /// Containers that ignore the stop signal.
    pub(super) stubborn: BTreeSet<usize>,
    /// Containers whose image cannot be had.
    pub(super) missing_images: HashMap<usize, ImageFailure>,
    /// Containers that do not start.
    pub(super) broken: HashMap<usize, StartFailure>,
    /// Answers of probes; success where nothing is said.
    pub(super) probes: HashMap<(usize, ProbeKind), Probed>,
    /// Hooks that never end.
    pub(super) endless_hooks: bool,
    /// Sandboxes that cannot be made.
    pub(super) broken_sandboxes: u32,
}

pub(super) fn moment(seconds: i64) -> Moment {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Moment {
        wall: start + jiff::SignedDuration::from_secs(seconds),
        steady: jiff::SignedDuration::from_secs(seconds),
    }
}

pub(super) fn container(name: &str) -> runtime::Container {
    runtime::Container {
        name: name.into(),
        image: format!("example.org/{name}:1"),
        ..Default::default()
    }
}

pub(super) fn sidecar(name: &str) -> runtime::Container {
    runtime::Container {
        restart_policy: runtime::RestartPolicy::Always.into(),
        ..container(name)
    }
}

pub(super) fn message(init: Vec<runtime::Container>, main: Vec<runtime::Container>) -> api::Pod {
    api::Pod {
        id: "uid-1".into(),
        name: "web".into(),
        namespace: "prod".into(),
        init_containers: init,
        containers: main,
        ..Default::default()
    }
}

pub(super) fn with_policy(mut pod: api::Pod, policy: runtime::RestartPolicy) -> api::Pod {
    pod.restart_policy = policy.into();
    pod
}

pub(super) fn pod(message: api::Pod) -> Arc<Pod> {
    Arc::new(Pod::try_from(message).unwrap())
}

pub(super) fn id(container: usize, attempt: u32) -> ContainerId {
    ContainerId::new(format!("{container:032x}{attempt:032x}")).unwrap()
}

impl World {
    pub(super) fn new(message: api::Pod) -> World {
        let now = moment(0);
        World::with(Machine::new(pod(message), now), now)
    }

    pub(super) fn with(machine: Machine, now: Moment) -> World {
        World {
            machine,
            now,
            answers: VecDeque::new(),
            actions: Vec::new(),
            stubborn: BTreeSet::new(),
            missing_images: HashMap::new(),
            broken: HashMap::new(),
            probes: HashMap::new(),
            endless_hooks: false,
            broken_sandboxes: 0,
        }
    }

    /// Gives an input, and answers actions until the machine is content.
    pub(super) fn give(&mut self, input: Input) {
        self.answers.push_back(input);
        while let Some(input) = self.answers.pop_front() {
            for action in self.machine.step(self.now, input) {
                self.answer(&action);
                self.actions.push(action);
            }
        }
    }

    pub(super) fn begin(&mut self) -> &mut World {
        self.give(Input::Begin);
        self
    }

    /// Lets time pass, and the machine look at each of its timers on the way.
    pub(super) fn pass(&mut self, duration: Duration) -> &mut World {
        let end = self.now.steady + signed(duration);
        while let Some(next) = self.machine.timer(self.now).filter(|&next| next <= end) {
            assert!(next > self.now.steady, "a timer in the past");
            self.set(next);
            self.give(Input::Tick);
        }
        self.set(end);
        self
    }

    pub(super) fn seconds(&mut self, seconds: u64) -> &mut World {
        self.pass(Duration::from_secs(seconds))
    }

    fn set(&mut self, steady: jiff::SignedDuration) {
        self.now = Moment {
            wall: self.now.wall + (steady - self.now.steady),
            steady,
        };
    }

    /// A running container ends by itself.
    pub(super) fn exit(&mut self, container: usize, exit_code: i32) -> &mut World {
        let exit = self.exit_of(container, exit_code, 0);
        self.give(Input::Exited(exit));
        self
    }

    pub(super) fn exit_of(&self, container: usize, exit_code: i32, signal: i32) -> Exit {
        let attempt = self.attempt(container);
        Exit {
            container: Index(container),
            attempt,
            id: id(container, attempt),
            exit_code,
            signal,
            oom_killed: false,
            start_failed: false,
            started_at: self.now.wall,
            finished_at: self.now.wall,
            message: String::new(),
        }
    }

    fn attempt(&self, container: usize) -> u32 {
        let started = |action: &Action| match action {
            Action::StartContainer(start) if start.container.0 == container => Some(start.attempt),
            _ => None,
        };
        self.actions.iter().rev().find_map(started).unwrap_or(0)
    }

    fn answer(&mut self, action: &Action) {
        let answer = match action {
            Action::PrepareVolumes => Input::VolumesReady,
            Action::CreateSandbox { .. } if self.broken_sandboxes > 0 => {
                self.broken_sandboxes -= 1;
                Input::SandboxFailed {
                    message: "no network".into(),
                }
            }
            Action::CreateSandbox { attempt } => Input::SandboxCreated(SandboxFacts {
                addresses: vec!["10.88.0.7".parse().unwrap()],
                init_pid: 100 + attempt,
                detail: String::new(),
            }),
            Action::DestroySandbox => Input::SandboxDestroyed,
            Action::FetchImage { container } => match self.missing_images.get(&container.0) {
                Some(failure) => Input::ImageFailed {
                    container: *container,
                    failure: failure.clone(),
                },
                None => Input::ImageReady {
                    container: *container,
                    image: image(),
                    pulled: None,
                },
            },
            Action::StartContainer(start) => match self.broken.get(&start.container.0) {
                Some(failure) => Input::StartFailed {
                    container: start.container,
                    attempt: start.attempt,
                    failure: failure.clone(),
                },
                None => Input::Started {
                    container: start.container,
                    attempt: start.attempt,
                    id: id(start.container.0, start.attempt),
                    started_at: self.now.wall,
                    detail: String::new(),
                },
            },
            Action::Signal { container, .. } if self.stubborn.contains(&container.0) => return,
            Action::Signal { container, signal } => {
                Input::Exited(self.exit_of(container.0, 128 + signal, *signal))
            }
            Action::Kill { container } => Input::Exited(self.exit_of(container.0, 137, 9)),
            Action::RunHook { .. } if self.endless_hooks => return,
            Action::RunHook {
                container,
                attempt,
                hook,
                ..
            } => Input::HookEnded {
                container: *container,
                attempt: *attempt,
                hook: *hook,
                result: Ok(()),
            },
            Action::Probe {
                container,
                attempt,
                kind,
            } => Input::Probed {
                container: *container,
                attempt: *attempt,
                kind: *kind,
                outcome: self
                    .probes
                    .get(&(container.0, *kind))
                    .cloned()
                    .unwrap_or(Probed::Success),
            },
            Action::CleanUp => Input::CleanedUp,
            Action::Forget => Input::Forgotten,
            Action::Record | Action::CancelFetch { .. } | Action::Event(_) => return,
        };
        self.answers.push_back(answer);
    }

    pub(super) fn status(&self) -> PodStatus {
        self.machine.status(self.now, 1)
    }

    pub(super) fn phase(&self) -> Phase {
        self.status().phase
    }

    /// A container's status, by its place.
    pub(super) fn container(&self, index: usize) -> ContainerStatus {
        let status = self.status();
        status
            .init_containers
            .into_iter()
            .chain(status.containers)
            .nth(index)
            .unwrap()
    }

    /// `running`, the reason it waits for, or the reason it ended for.
    pub(super) fn state(&self, index: usize) -> String {
        match self.container(index).state {
            ContainerState::Running { .. } => "running".into(),
            ContainerState::Waiting { reason, .. } => reason,
            ContainerState::Terminated(end) => end.reason,
        }
    }

    /// The containers that were started, in order.
    pub(super) fn starts(&self) -> Vec<usize> {
        let start = |action: &Action| match action {
            Action::StartContainer(start) => Some(start.container.0),
            _ => None,
        };
        self.actions.iter().filter_map(start).collect()
    }

    /// The containers that were signalled, in order.
    pub(super) fn signals(&self) -> Vec<(usize, i32)> {
        let signal = |action: &Action| match action {
            Action::Signal { container, signal } => Some((container.0, *signal)),
            Action::Kill { container } => Some((container.0, 9)),
            _ => None,
        };
        self.actions.iter().filter_map(signal).collect()
    }

    /// Reason and message of every event.
    pub(super) fn events(&self) -> Vec<String> {
        let event = |action: &Action| match action {
            Action::Event(event) => Some(format!("{}: {}", event.reason, event.message)),
            _ => None,
        };
        self.actions.iter().filter_map(event).collect()
    }

    pub(super) fn count(&self, wanted: &Action) -> usize {
        self.actions.iter().filter(|action| *action == wanted).count()
    }
}

pub(super) fn image() -> ImageFacts {
    ImageFacts {
        id: "sha256:1".into(),
        shown: "example.org/a@sha256:2".into(),
        stop_signal: 15,
    }
}
