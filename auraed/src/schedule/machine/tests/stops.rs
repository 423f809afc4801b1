//! Stops, in their order and in their time.

use std::time::Duration;

use auraed_api::runtime::v0::RestartPolicy::Never;
use auraed_types::status::Phase;

use super::life::hook;
use super::world::{World, container, message, sidecar, with_policy};
use crate::schedule::machine::{Action, HookKind, Index, Input};

fn stop(seconds: u64) -> Input {
    Input::Stop {
        grace: Some(Duration::from_secs(seconds)),
    }
}

#[test]
fn a_stop_ends_all_containers_and_then_the_pod() {
    let mut world = World::new(message(vec![], vec![container("a"), container("b")]));
    world.begin().give(stop(30));
    assert_eq!(world.signals(), [(0, 15), (1, 15)]);
    let status = world.status();
    assert!(status.stopping && status.finished && !status.sandbox.ready);
    assert_eq!(status.phase, Phase::Failed);
    assert_eq!(status.containers[0].restart_count, 0);
    assert_eq!(
        (world.state(0), world.count(&Action::DestroySandbox)),
        ("Error".into(), 1)
    );
    assert!(world.events().contains(&"Killing: Stopping container a".into()));
    assert_eq!(status.sandbox.addresses.len(), 1, "addresses stay shown");
}

#[test]
fn a_pod_whose_containers_end_well_when_asked_has_succeeded() {
    let mut world = World::new(message(vec![], vec![container("a")]));
    world.stubborn.insert(0);
    world.begin().give(stop(30));
    assert_eq!((world.phase(), world.status().stopping), (Phase::Running, true));
    world.exit(0, 0);
    assert_eq!((world.phase(), world.starts().len()), (Phase::Succeeded, 1));
}

#[test]
fn what_ignores_the_signal_is_killed_when_the_grace_is_over() {
    let mut world = World::new(message(vec![], vec![container("a")]));
    world.stubborn.insert(0);
    world.begin().give(stop(10));
    world.seconds(9);
    assert_eq!(world.signals(), [(0, 15)]);
    world.seconds(1);
    assert_eq!(
        (world.signals(), world.phase()),
        (vec![(0, 15), (0, 9)], Phase::Failed)
    );
}

#[test]
fn even_no_grace_is_two_seconds_and_a_later_stop_only_shortens() {
    let mut world = World::new(message(vec![], vec![container("a")]));
    world.stubborn.insert(0);
    world.begin().give(stop(0));
    world.pass(Duration::from_millis(1999));
    assert_eq!(world.signals().len(), 1);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.signals().len(), 2);

    let mut world = World::new(message(vec![], vec![container("a")]));
    world.stubborn.insert(0);
    world.begin().give(stop(30));
    world.seconds(5).give(stop(300));
    world.seconds(5).give(stop(3));
    world.seconds(2);
    assert_eq!(world.signals().len(), 1);
    world.seconds(1);
    assert_eq!(world.signals().len(), 2);
}

#[test]
fn sidecars_end_after_the_others_in_reverse() {
    let mut world = World::new(message(vec![sidecar("s"), sidecar("t")], vec![container("a")]));
    world.stubborn.insert(2);
    world.begin().give(stop(10));
    assert_eq!(world.signals(), [(2, 15)]);
    world.exit(2, 0);
    assert_eq!(world.signals(), [(2, 15), (1, 15), (0, 15)]);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn sidecars_have_two_seconds_when_the_others_used_up_the_grace() {
    let mut world = World::new(message(vec![sidecar("s")], vec![container("a")]));
    world.stubborn.extend([0, 1]);
    world.begin().give(stop(10));
    world.seconds(10);
    assert_eq!(world.signals(), [(1, 15), (0, 15), (1, 9)]);
    world.seconds(2);
    assert_eq!(world.signals().last(), Some(&(0, 9)));
    assert!(world.status().finished);
}

#[test]
fn a_pre_stop_hook_runs_first_and_takes_from_the_grace() {
    let mut a = container("a");
    a.pre_stop = Some(hook());
    let mut world = World::new(message(vec![], vec![a]));
    world.stubborn.insert(0);
    world.endless_hooks = true;
    world.begin().give(stop(10));
    assert_eq!(world.signals(), []);
    world.seconds(4).give(Input::HookEnded {
        container: Index(0),
        attempt: 0,
        hook: HookKind::PreStop,
        result: Err("exit 1".into()),
    });
    assert_eq!(world.signals(), [(0, 15)]);
    assert!(
        world
            .events()
            .contains(&"FailedPreStopHook: PreStopHook failed".into())
    );
    world.seconds(6);
    assert_eq!(world.signals(), [(0, 15), (0, 9)]);
}

#[test]
fn an_endless_pre_stop_hook_ends_with_the_grace() {
    let mut a = container("a");
    a.pre_stop = Some(hook());
    let mut world = World::new(message(vec![], vec![a]));
    world.endless_hooks = true;
    world.begin().give(stop(10));
    world.seconds(10);
    assert_eq!(world.signals(), [(0, 15)]);
    assert!(world.status().finished);
}

#[test]
fn a_crash_looping_pod_stops_at_once() {
    let mut world = World::new(message(vec![], vec![container("a")]));
    world.begin().exit(0, 1).exit(0, 1);
    world.give(stop(30));
    let status = world.status();
    assert_eq!(
        (status.phase, status.finished, world.state(0)),
        (Phase::Failed, true, "Error".into())
    );
}

#[test]
fn a_pod_stopped_before_it_ran_has_failed() {
    let mut world = World::new(message(vec![], vec![container("a")]));
    world.broken_sandboxes = 1000;
    world.begin().give(stop(30));
    assert_eq!(
        (world.phase(), world.state(0)),
        (Phase::Failed, "ContainerStatusUnknown".into())
    );

    let mut world = World::new(message(vec![container("i")], vec![container("a")]));
    world.begin().give(stop(30));
    assert_eq!(
        (world.phase(), world.state(0), world.state(1)),
        (Phase::Failed, "Error".into(), "PodInitializing".into())
    );
}

#[test]
fn a_finished_pod_is_cleaned_up_once_and_forgotten_when_removed() {
    let mut world = World::new(with_policy(message(vec![], vec![container("a")]), Never));
    world.begin().exit(0, 0);
    assert_eq!(world.count(&Action::CleanUp), 1);
    assert!(!world.machine.is_forgotten());
    world.give(Input::Remove { grace: None });
    assert!(world.machine.is_forgotten());
    assert_eq!(
        (world.count(&Action::CleanUp), world.count(&Action::Forget)),
        (1, 1)
    );
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn a_running_pod_that_is_removed_stops_first() {
    let mut world = World::new(message(vec![], vec![container("a")]));
    world.begin().give(Input::Remove {
        grace: Some(Duration::from_secs(1)),
    });
    assert_eq!(world.signals(), [(0, 15)]);
    assert!(world.machine.is_forgotten());
}
