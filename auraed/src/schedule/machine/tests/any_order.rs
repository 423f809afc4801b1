//! Whatever happens, in whatever order: what must never happen does not.

use std::time::Duration;

use auraed_api::runtime::v0::RestartPolicy::{Always, Never, OnFailure};
use proptest::prelude::*;

use super::life::{hook, probe};
use super::world::{World, container, image, message, moment, pod, sidecar, with_policy};
use crate::schedule::machine::{
    Action, HookKind, ImageFailure, Index, Input, Machine, Probed, SandboxFacts, StartFailure,
};
use crate::schedule::moment::Moment;

/// A pod on a node that answers late, in any order, well or badly.
struct Chaos {
    machine: Machine,
    now: Moment,
    open: Vec<Action>,
    running: Vec<Option<u32>>,
    /// The attempt of the sandbox that stands.
    sandbox: Option<u32>,
    forgotten: bool,
}

impl Chaos {
    fn new(pod: std::sync::Arc<auraed_types::Pod>) -> Chaos {
        let now = moment(0);
        let running = pod.all_containers().map(|_| None).collect();
        let mut chaos = Chaos {
            machine: Machine::new(pod, now),
            now,
            open: Vec::new(),
            running,
            sandbox: None,
            forgotten: false,
        };
        chaos.give(Input::Begin);
        chaos
    }

    fn give(&mut self, input: Input) {
        let before = self.machine.status(self.now, 0);
        for action in self.machine.step(self.now, input) {
            self.check(&action);
            if !matches!(action, Action::Event(_) | Action::Record) {
                self.open.push(action);
            }
        }
        let after = self.machine.status(self.now, 0);
        if before.phase.is_terminal() {
            assert_eq!(before.phase, after.phase, "a terminal phase is for good");
        }
        if after.phase.is_terminal() {
            assert!(after.finished, "terminal while something may run");
        }
        if after.finished {
            assert!(
                self.running.iter().all(Option::is_none),
                "finished while something runs"
            );
            assert!(after.phase.is_terminal());
        }
        let timer = self.machine.timer(self.now);
        assert!(timer.is_none_or(|timer| timer > self.now.steady));
    }

    fn check(&self, action: &Action) {
        assert!(!self.forgotten, "an action after the end: {action:?}");
        match action {
            Action::StartContainer(start) => {
                assert!(self.sandbox.is_some(), "a start without a sandbox");
                assert_eq!(self.running[start.container.0], None, "a second start");
                let starting = |action: &Action| matches!(action, Action::StartContainer(_));
                assert!(!self.open.iter().any(starting), "two starts at once");
                let init = self.machine.pod().init_containers.len();
                let plain = |index: usize| !self.machine.pod().init_containers[index].sidecar;
                for earlier in (0..init.min(start.container.0)).filter(|&index| plain(index)) {
                    assert_eq!(self.running[earlier], None, "an init container still runs");
                }
            }
            Action::CreateSandbox { .. } => assert!(self.sandbox.is_none(), "a second sandbox"),
            Action::DestroySandbox => assert!(self.running.iter().all(Option::is_none)),
            Action::CleanUp => assert!(self.sandbox.is_none(), "cleaned up under a sandbox"),
            Action::Forget => assert!(self.machine.is_removing()),
            _ => {}
        }
    }

    /// Answers one of the open actions, or lets something happen by itself.
    fn happen(&mut self, choice: usize, how: u8) {
        if self.open.is_empty() || how % 8 == 7 {
            return self.by_itself(choice, how);
        }
        let action = self.open.remove(choice % self.open.len());
        let good = !how.is_multiple_of(4);
        match action {
            Action::PrepareVolumes if good => self.give(Input::VolumesReady),
            Action::PrepareVolumes => {
                self.give(Input::VolumeFailed {
                    volume: "v".parse().unwrap(),
                    message: "no".into(),
                });
            }
            Action::CreateSandbox { attempt } if good => {
                self.sandbox = Some(attempt);
                let facts = SandboxFacts {
                    addresses: vec![],
                    init_pid: 5,
                    detail: String::new(),
                };
                self.give(Input::SandboxCreated(facts));
            }
            Action::CreateSandbox { .. } => self.give(Input::SandboxFailed { message: "no".into() }),
            Action::DestroySandbox => {
                self.sandbox = None;
                self.give(Input::SandboxDestroyed);
            }
            Action::FetchImage { container } if good => {
                self.give(Input::ImageReady {
                    container,
                    image: image(),
                    pulled: None,
                });
            }
            Action::FetchImage { container } => {
                self.give(Input::ImageFailed {
                    container,
                    failure: ImageFailure::Pull("no".into()),
                });
            }
            Action::StartContainer(start) if good && self.sandbox == Some(start.sandbox) => {
                self.running[start.container.0] = Some(start.attempt);
                let id = super::world::id(start.container.0, start.attempt);
                let (container, attempt) = (start.container, start.attempt);
                self.give(Input::Started {
                    container,
                    attempt,
                    id,
                    started_at: self.now.wall,
                    detail: String::new(),
                });
            }
            Action::StartContainer(start) => {
                let id = super::world::id(start.container.0, start.attempt);
                let failure = match how % 3 {
                    _ if self.sandbox != Some(start.sandbox) => StartFailure::SandboxGone,
                    0 => StartFailure::Config("no".into()),
                    1 => StartFailure::Create("no".into()),
                    _ => StartFailure::Run {
                        id,
                        message: "no".into(),
                    },
                };
                self.give(Input::StartFailed {
                    container: start.container,
                    attempt: start.attempt,
                    failure,
                });
            }
            Action::Signal { container, .. } if good => self.exit(container.0, 143),
            Action::Kill { container } => self.exit(container.0, 137),
            Action::RunHook {
                container,
                attempt,
                hook,
                ..
            } => {
                let result = if good { Ok(()) } else { Err("no".into()) };
                self.give(Input::HookEnded {
                    container,
                    attempt,
                    hook,
                    result,
                });
            }
            Action::Probe {
                container,
                attempt,
                kind,
            } => {
                let outcome = match how % 3 {
                    0 => Probed::Failure("no".into()),
                    1 => Probed::Unknown("?".into()),
                    _ => Probed::Success,
                };
                self.give(Input::Probed {
                    container,
                    attempt,
                    kind,
                    outcome,
                });
            }
            Action::CleanUp => self.give(Input::CleanedUp),
            Action::Forget => {
                self.give(Input::Forgotten);
                self.forgotten = true;
            }
            Action::Signal { .. } | Action::CancelFetch { .. } | Action::Record | Action::Event(_) => {}
        }
    }

    fn by_itself(&mut self, choice: usize, how: u8) {
        let runs: Vec<usize> = (0..self.running.len())
            .filter(|&index| self.running[index].is_some())
            .collect();
        match how / 8 % 8 {
            0..=2 if !runs.is_empty() => self.exit(runs[choice % runs.len()], i32::from(how % 2)),
            3 if self.sandbox.is_some() && !self.open.contains(&Action::DestroySandbox) => {
                self.sandbox = None;
                self.running.fill(None);
                self.give(Input::SandboxLost { exits: vec![] });
            }
            _ => {
                let step = Duration::from_secs(choice as u64 % 400);
                let steady = self.now.steady + crate::schedule::moment::signed(step);
                self.now = Moment {
                    wall: self.now.wall + (steady - self.now.steady),
                    steady,
                };
                self.give(Input::Tick);
            }
        }
    }

    fn exit(&mut self, container: usize, exit_code: i32) {
        let Some(attempt) = self.running[container].take() else {
            return;
        };
        let mut exit = World::with(Machine::new(self.machine.pod().clone(), self.now), self.now)
            .exit_of(container, exit_code, 0);
        (exit.attempt, exit.id) = (attempt, super::world::id(container, attempt));
        self.give(Input::Exited(exit));
    }

    /// Answers everything well until nothing is left.
    fn settle(&mut self) {
        for round in 0..10_000 {
            if self.machine.is_forgotten() {
                return;
            }
            if self.open.is_empty() {
                let Some(next) = self.machine.timer(self.now) else {
                    panic!("stuck: {:?}", self.machine)
                };
                self.now = Moment {
                    wall: self.now.wall + (next - self.now.steady),
                    steady: next,
                };
                self.give(Input::Tick);
            } else {
                self.happen(round, 6);
            }
        }
        panic!("it does not end: {:?}", self.machine);
    }
}

fn pods() -> impl Strategy<Value = auraed_api::schedule::v0::Pod> {
    let policies = prop_oneof![Just(Always), Just(OnFailure), Just(Never)];
    (policies, 0..3usize, 0..3usize, 1..3usize, any::<u8>()).prop_map(
        |(policy, plain, sidecars, main, features)| {
            let mut init: Vec<_> = (0..plain)
                .map(|index| container(&format!("init{index}")))
                .collect();
            for index in 0..sidecars {
                let place = if features & 1 == 0 { init.len() } else { 0 };
                init.insert(place, sidecar(&format!("side{index}")));
            }
            let mut main: Vec<_> = (0..main)
                .map(|index| container(&format!("main{index}")))
                .collect();
            if features & 2 != 0 {
                main[0].liveness_probe = Some(probe());
            }
            if features & 4 != 0 {
                (main[0].post_start, main[0].pre_stop) = (Some(hook()), Some(hook()));
            }
            let mut pod = with_policy(message(init, main), policy);
            pod.active_deadline_seconds = (features & 8 != 0).then_some(500);
            pod
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Invariants hold at each step, and a removed pod always comes to its end.
    #[test]
    fn nothing_forbidden_happens(pod_message in pods(), events in prop::collection::vec((any::<u16>(), any::<u8>()), 0..120)) {
        let mut chaos = Chaos::new(pod(pod_message));
        for (choice, how) in events {
            chaos.happen(usize::from(choice), how);
        }
        chaos.give(Input::Remove { grace: None });
        chaos.settle();
        prop_assert!(chaos.machine.is_forgotten());
    }

    /// Inputs that nobody asked for change nothing that matters: no panic, no second start.
    #[test]
    fn stale_inputs_are_ignored(container_index in 0..2usize, attempt in 0..3u32) {
        let mut world = World::new(message(vec![], vec![container("a"), container("b")]));
        world.begin();
        let before = world.starts().len();
        let container = Index(container_index);
        world.give(Input::SandboxFailed { message: "late".into() });
        world.give(Input::VolumesReady);
        world.give(Input::ImageReady { container, image: image(), pulled: None });
        world.give(Input::StartFailed { container, attempt, failure: StartFailure::Config("late".into()) });
        world.give(Input::HookEnded { container, attempt, hook: HookKind::PreStop, result: Ok(()) });
        world.give(Input::Tick);
        prop_assert_eq!(world.starts().len(), before);
    }
}
