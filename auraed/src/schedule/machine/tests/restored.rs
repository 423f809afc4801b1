//! Machines that go on where an earlier daemon was killed.

use std::sync::Arc;

use auraed_api::runtime::v0::RestartPolicy::{Never, OnFailure};
use auraed_types::Pod;
use auraed_types::status::Phase;

use super::world::{World, container, id, message, moment, pod, sidecar, with_policy};
use crate::schedule::machine::{
    Action, Exit, Found, FoundContainer, FoundRun, FoundSandbox, FoundState, Index, Machine,
};
use crate::schedule::record::{Record, RecordedEnd, RunRecord};

/// Nothing but the pod itself.
pub(super) fn found(pod: &Arc<Pod>, whole: bool) -> Found {
    Found {
        accepted_at: moment(0).wall,
        record: Record::default(),
        stop: None,
        whole,
        sandbox: None,
        containers: pod.all_containers().map(|_| FoundContainer::default()).collect(),
    }
}

fn run(container: usize, attempt: u32, state: FoundState) -> FoundRun {
    let record = RunRecord {
        version: 1,
        attempt,
        id: id(container, attempt),
        sandbox: 0,
        image: "sha256:1".into(),
        image_shown: "example.org/a@sha256:2".into(),
        stop_signal: 15,
        restart_delay_seconds: if attempt == 0 { 0 } else { 10 << (attempt - 1) },
        created_at: moment(10).wall,
    };
    FoundRun { record, state }
}

fn running() -> FoundState {
    FoundState::Running {
        since: moment(10).wall,
        started: None,
        ready: None,
    }
}

fn ended(container: usize, attempt: u32, exit_code: i32, at: i64) -> FoundState {
    FoundState::Ended(Exit {
        container: Index(container),
        attempt,
        id: id(container, attempt),
        exit_code,
        signal: 0,
        oom_killed: false,
        start_failed: false,
        started_at: moment(10).wall,
        finished_at: moment(at).wall,
        message: "bye".into(),
    })
}

fn alive() -> Option<FoundSandbox> {
    Some(FoundSandbox {
        init_pid: 77,
        addresses: vec!["10.88.0.7".parse().unwrap()],
    })
}

/// Restores at second 100 and lets it go on.
fn restore(pod: &Arc<Pod>, found: Found) -> World {
    let now = moment(100);
    let mut world = World::with(Machine::restore(Arc::clone(pod), found, now), now);
    world.begin();
    world
}

#[test]
fn a_running_pod_is_left_alone() {
    let pod = pod(message(vec![container("i"), sidecar("s")], vec![container("a")]));
    let mut found = found(&pod, true);
    found.sandbox = alive();
    found.containers[0].runs = vec![run(0, 0, ended(0, 0, 0, 20))];
    found.containers[1].runs = vec![run(1, 0, running())];
    found.containers[2].runs = vec![run(2, 0, ended(2, 0, 1, 30)), run(2, 1, running())];
    let world = restore(&pod, found);
    assert_eq!(world.actions, []);
    let status = world.status();
    assert_eq!((status.phase, status.sandbox.init_pid), (Phase::Running, 77));
    assert_eq!(
        (status.containers[0].restart_count, status.containers[0].ready),
        (1, true)
    );
    assert_eq!(status.containers[0].last_state.as_ref().unwrap().message, "bye");
    assert!(status.init_containers.iter().all(|container| container.ready));
    assert_eq!(status.started_at, moment(0).wall);
}

#[test]
fn an_exit_that_happened_meanwhile_is_acted_on_with_its_own_time() {
    let pod = pod(message(vec![], vec![container("a")]));
    let mut found = found(&pod, true);
    found.sandbox = alive();
    found.containers[0].runs = vec![run(0, 1, ended(0, 1, 1, 95))];
    let mut world = restore(&pod, found);
    assert_eq!(world.state(0), "CrashLoopBackOff", "5 of its 10 s are over");
    world.seconds(5);
    assert_eq!((world.starts(), world.container(0).restart_count), (vec![0], 2));
}

#[test]
fn a_start_that_was_recorded_but_never_happened_happens_now() {
    let pod = pod(message(vec![], vec![container("a")]));
    let mut found = found(&pod, true);
    found.sandbox = alive();
    found.containers[0].runs = vec![run(0, 0, FoundState::Unknown)];
    let world = restore(&pod, found);
    assert_eq!((world.starts(), world.container(0).restart_count), (vec![0], 0));
    assert_eq!(world.container(0).last_state, None);
}

#[test]
fn a_pod_whose_init_died_gets_a_new_sandbox_as_its_policy_says() {
    let always = pod(message(vec![container("i")], vec![container("a")]));
    let mut facts = found(&always, true);
    facts.containers[0].runs = vec![run(0, 0, ended(0, 0, 0, 20))];
    facts.containers[1].runs = vec![run(1, 0, FoundState::Unknown)];
    let mut world = restore(&always, facts);
    assert_eq!(world.count(&Action::CreateSandbox { attempt: 1 }), 1);
    assert_eq!(world.starts(), [0]);
    world.exit(0, 0);
    let status = world.container(1);
    assert_eq!(
        (status.restart_count, status.last_state.unwrap().reason.as_str()),
        (1, "ContainerStatusUnknown")
    );

    let never = pod(with_policy(message(vec![], vec![container("a")]), Never));
    let mut facts = found(&never, true);
    facts.containers[0].runs = vec![run(0, 0, FoundState::Unknown)];
    let world = restore(&never, facts);
    assert_eq!((world.phase(), world.starts().len()), (Phase::Failed, 0));
    assert_eq!(world.container(0).restart_count, 0);

    let done = pod(with_policy(message(vec![], vec![container("a")]), OnFailure));
    let mut facts = found(&done, true);
    facts.containers[0].runs = vec![run(0, 0, ended(0, 0, 0, 20))];
    let world = restore(&done, facts);
    assert_eq!((world.phase(), world.status().finished), (Phase::Succeeded, true));
}

#[test]
fn a_pod_that_never_had_a_sandbox_starts_from_the_beginning() {
    let pod = pod(message(vec![], vec![container("a")]));
    let world = restore(&pod, found(&pod, true));
    assert_eq!(world.count(&Action::CreateSandbox { attempt: 0 }), 1);
    assert_eq!(world.phase(), Phase::Running);
}

#[test]
fn a_stop_goes_on_with_what_is_left_of_its_grace() {
    let pod = pod(message(vec![], vec![container("a")]));
    let mut facts = found(&pod, true);
    facts.sandbox = alive();
    facts.containers[0].runs = vec![run(0, 0, running())];
    facts.stop = Some((moment(90).wall, Some(std::time::Duration::from_secs(30))));
    let now = moment(100);
    let mut world = World::with(Machine::restore(Arc::clone(&pod), facts, now), now);
    world.stubborn.insert(0);
    world.begin();
    assert!(world.status().stopping);
    world.seconds(19);
    assert_eq!(world.signals(), [(0, 15)]);
    world.seconds(1);
    assert_eq!((world.signals().len(), world.phase()), (2, Phase::Failed));
}

#[test]
fn a_stop_of_a_pod_that_is_gone_is_over() {
    let pod = pod(message(vec![], vec![container("a")]));
    let mut facts = found(&pod, true);
    facts.containers[0].runs = vec![run(0, 0, ended(0, 0, 143, 95))];
    facts.stop = Some((moment(90).wall, None));
    facts.record.removing = true;
    let world = restore(&pod, facts);
    assert!(world.machine.is_forgotten());
    assert_eq!(world.count(&Action::CreateSandbox { attempt: 1 }), 0);
}

#[test]
fn a_deadline_is_not_forgotten() {
    let pod = pod(message(vec![], vec![container("a")]));
    let mut facts = found(&pod, true);
    facts.containers[0].runs = vec![run(0, 0, ended(0, 0, 0, 95))];
    facts.record.end = Some(RecordedEnd::Deadline);
    let world = restore(&pod, facts);
    assert_eq!(
        (world.phase(), world.status().reason.as_str()),
        (Phase::Failed, "DeadlineExceeded")
    );
}

#[test]
fn a_finished_pod_shows_its_last_status_and_is_cleaned_up_again() {
    let pod = pod(with_policy(message(vec![], vec![container("a")]), Never));
    let mut world = World::new(with_policy(message(vec![], vec![container("a")]), Never));
    world.begin().exit(0, 3);
    let before = world.status();
    let mut facts = found(&pod, true);
    facts.record = Record::decode(&world.machine.record(world.now).encode()).unwrap();
    let world = restore(&pod, facts);
    assert_eq!(world.status(), before);
    assert_eq!(world.actions, [Action::CleanUp]);
}
