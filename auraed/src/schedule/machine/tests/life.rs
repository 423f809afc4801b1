//! Starts, restarts, failures, and what is shown of them.

use auraed_api::runtime::v0 as runtime;
use auraed_api::runtime::v0::RestartPolicy::{Never, OnFailure};
use auraed_types::status::{ContainerState, Phase};

use super::world::{World, container, message, moment, pod, sidecar, with_policy};
use crate::schedule::machine::{Action, ImageFailure, Input, ProbeKind, Probed, StartFailure};

#[test]
fn a_pod_starts_its_containers_in_order_and_runs() {
    let mut world = World::new(message(vec![], vec![container("a"), container("b")]));
    assert_eq!(
        (world.phase(), world.state(0)),
        (Phase::Pending, "ContainerCreating".into())
    );
    world.begin();
    assert_eq!(world.starts(), [0, 1]);
    let status = world.status();
    assert_eq!(status.phase, Phase::Running);
    assert!(
        status.sandbox.ready
            && status
                .containers
                .iter()
                .all(|container| container.ready && container.started)
    );
    assert_eq!(status.containers[0].image_id, "example.org/a@sha256:2");
    assert_eq!(status.containers[0].restart_count, 0);
    let names: Vec<_> = world
        .machine
        .steps()
        .timeline()
        .steps
        .iter()
        .map(|step| step.name)
        .collect();
    assert_eq!(
        names,
        [
            "accepted",
            "volumes",
            "sandbox",
            "image",
            "image",
            "container",
            "container",
            "ready"
        ]
    );
    assert_eq!(
        world.events()[..2],
        [
            "Pulled: Container image \"example.org/a:1\" already present on machine and can be accessed by the pod",
            "Pulled: Container image \"example.org/b:1\" already present on machine and can be accessed by the pod",
        ]
    );
}

#[test]
fn init_containers_run_one_after_the_other() {
    let mut world = World::new(message(
        vec![container("i"), container("j")],
        vec![container("a")],
    ));
    world.begin();
    assert_eq!((world.starts(), world.phase()), (vec![0], Phase::Pending));
    assert_eq!(world.state(2), "PodInitializing");
    world.exit(0, 0);
    assert!(world.container(0).ready);
    assert_eq!(world.starts(), [0, 1]);
    world.exit(1, 1);
    assert_eq!(world.starts(), [0, 1, 1], "a failed one is started again at once");
    world.exit(1, 1);
    assert_eq!(
        (world.state(1), world.phase()),
        ("CrashLoopBackOff".into(), Phase::Pending)
    );
    world.seconds(10).exit(1, 0);
    assert_eq!(world.starts(), [0, 1, 1, 1, 2]);
    assert_eq!(world.phase(), Phase::Running);
}

#[test]
fn a_failed_init_container_of_a_pod_that_never_restarts_fails_it() {
    let mut world = World::new(with_policy(
        message(vec![container("i")], vec![container("a")]),
        Never,
    ));
    world.begin().exit(0, 3);
    let status = world.status();
    assert_eq!((status.phase, status.finished), (Phase::Failed, true));
    assert_eq!(world.starts(), [0]);
    assert_eq!(world.state(1), "PodInitializing");
}

#[test]
fn a_sidecar_holds_back_what_follows_until_it_has_started() {
    let mut slow = sidecar("s");
    slow.startup_probe = Some(probe());
    let mut world = World::new(message(vec![slow, container("i")], vec![container("a")]));
    world
        .probes
        .insert((0, ProbeKind::Startup), Probed::Failure("not yet".into()));
    world.begin().seconds(1);
    assert_eq!((world.starts(), world.phase()), (vec![0], Phase::Pending));
    world.probes.clear();
    world.seconds(1);
    assert_eq!(world.starts(), [0, 1]);
    world.exit(1, 0);
    assert_eq!((world.starts(), world.phase()), (vec![0, 1, 2], Phase::Running));
    // A sidecar is started again whatever the policy says, and holds nothing back any more.
    world.exit(0, 1).exit(2, 1);
    assert_eq!(world.starts(), [0, 1, 2, 0, 2]);
}

#[test]
fn sidecars_do_not_keep_a_pod_from_its_end() {
    let pod = with_policy(
        message(vec![sidecar("s"), sidecar("t")], vec![container("a")]),
        Never,
    );
    let mut world = World::new(pod);
    world.begin().exit(2, 0);
    assert_eq!(
        world.signals(),
        [(1, 15), (0, 15)],
        "in the reverse of their order"
    );
    let status = world.status();
    assert_eq!(
        (status.phase, status.finished, status.stopping),
        (Phase::Succeeded, true, false)
    );
}

#[test]
fn crashes_are_restarted_with_growing_delays() {
    let mut world = World::new(message(vec![], vec![container("a")]));
    world.begin().exit(0, 1);
    assert_eq!(
        (world.state(0), world.container(0).restart_count),
        ("running".into(), 1)
    );
    assert_eq!(world.container(0).last_state.unwrap().exit_code, 1);
    world.exit(0, 1);
    let status = world.container(0);
    let ContainerState::Waiting { reason, message } = &status.state else {
        panic!("{status:?}")
    };
    assert_eq!(reason, "CrashLoopBackOff");
    assert_eq!(
        message,
        "back-off 10s restarting failed container=a pod=web_prod(uid-1)"
    );
    assert_eq!((status.restart_count, world.phase()), (1, Phase::Running));
    let told = "BackOff: Back-off restarting failed container a in pod web_prod(uid-1)";
    assert_eq!(world.events().iter().filter(|event| *event == told).count(), 1);
    world.seconds(9);
    assert_eq!(world.starts().len(), 2);
    world.seconds(1);
    assert_eq!((world.starts().len(), world.state(0)), (3, "running".into()));
    for delay in [20, 40, 80, 160, 300, 300] {
        world.exit(0, 1).seconds(delay - 1);
        assert_eq!(world.state(0), "CrashLoopBackOff", "{delay}");
        world.seconds(1);
        assert_eq!(world.state(0), "running", "{delay}");
    }
    world.seconds(601).exit(0, 0);
    assert_eq!(world.state(0), "running", "a long run starts over");
}

#[test]
fn policies_decide_what_is_started_again() {
    let two = || message(vec![], vec![container("a"), container("b")]);
    let mut world = World::new(with_policy(two(), OnFailure));
    world.begin().exit(0, 0);
    assert_eq!(
        (world.state(0), world.phase()),
        ("Completed".into(), Phase::Running)
    );
    world.exit(1, 1);
    assert_eq!(world.starts(), [0, 1, 1]);
    world.exit(1, 0);
    assert_eq!((world.phase(), world.status().finished), (Phase::Succeeded, true));

    let mut world = World::new(with_policy(two(), Never));
    world.begin().exit(0, 2);
    assert_eq!(world.phase(), Phase::Running);
    world.exit(1, 0);
    assert_eq!((world.phase(), world.starts()), (Phase::Failed, vec![0, 1]));
}

#[test]
fn a_missing_image_backs_off() {
    let mut world = World::new(message(vec![], vec![container("a"), container("b")]));
    world
        .missing_images
        .insert(0, ImageFailure::Pull("not found".into()));
    world.begin();
    assert_eq!(
        (world.state(0), world.state(1), world.phase()),
        ("ErrImagePull".into(), "running".into(), Phase::Pending)
    );
    world.seconds(2);
    let ContainerState::Waiting { reason, message } = world.container(0).state else {
        panic!()
    };
    assert_eq!(reason, "ImagePullBackOff");
    assert_eq!(
        message,
        "Back-off pulling image \"example.org/a:1\": ErrImagePull: not found"
    );
    let fetches = |world: &World| {
        world.count(&Action::FetchImage {
            container: super::super::Index(0),
        })
    };
    world.seconds(8);
    assert_eq!((fetches(&world), world.state(0)), (2, "ErrImagePull".into()));
    world.seconds(19);
    assert_eq!(fetches(&world), 2);
    world.missing_images.clear();
    world.seconds(1);
    assert_eq!(
        (world.state(0), world.phase()),
        ("running".into(), Phase::Running)
    );
    assert!(
        world
            .events()
            .contains(&"Failed: Failed to pull image \"example.org/a:1\": not found".into())
    );
    assert!(world.events().contains(&"Failed: Error: ErrImagePull".into()));
}

#[test]
fn images_that_may_not_be_pulled_or_have_no_name_say_so() {
    let mut world = World::new(message(vec![], vec![container("a"), container("b")]));
    world.missing_images.insert(0, ImageFailure::NeverPull);
    world
        .missing_images
        .insert(1, ImageFailure::InvalidName("bad".into()));
    world.begin().seconds(5);
    assert_eq!(
        (world.state(0), world.state(1)),
        ("ErrImageNeverPull".into(), "InvalidImageName".into())
    );
    world.missing_images.clear();
    world.seconds(5);
    assert_eq!(world.starts(), [0, 1]);
}

#[test]
fn starts_that_fail_tell_why_and_are_tried_again() {
    let mut world = World::new(message(vec![], vec![container("a"), container("b")]));
    world
        .broken
        .insert(0, StartFailure::Config("container has runAsNonRoot".into()));
    let run = StartFailure::Run {
        id: super::world::id(1, 0),
        message: "no such file".into(),
    };
    world.broken.insert(1, run);
    world.begin();
    assert_eq!(world.state(0), "CreateContainerConfigError");
    assert_eq!(
        (world.state(1), world.container(1).last_state.unwrap().exit_code),
        ("RunContainerError".into(), 128)
    );
    world.seconds(10);
    assert_eq!(world.state(1), "CrashLoopBackOff");
    assert_eq!(
        (world.container(0).restart_count, world.container(1).restart_count),
        (0, 1)
    );
    world.broken.clear();
    world.seconds(10);
    assert_eq!(
        (world.phase(), world.container(1).restart_count),
        (Phase::Running, 2)
    );

    let mut world = World::new(with_policy(message(vec![], vec![container("a")]), Never));
    let run = StartFailure::Run {
        id: super::world::id(0, 0),
        message: "no such file".into(),
    };
    world.broken.insert(0, run);
    world.begin();
    assert_eq!(
        (world.phase(), world.state(0)),
        (Phase::Failed, "StartError".into())
    );
}

#[test]
fn a_sandbox_that_cannot_be_made_is_tried_again() {
    let mut world = World::new(message(vec![], vec![container("a")]));
    world.broken_sandboxes = 2;
    world.begin();
    assert_eq!(
        (world.phase(), world.state(0)),
        (Phase::Pending, "ContainerCreating".into())
    );
    assert!(
        world
            .events()
            .contains(&"FailedCreatePodSandBox: Failed to create pod sandbox: no network".into())
    );
    world.seconds(3);
    assert_eq!(world.phase(), Phase::Running);
    assert_eq!(world.status().sandbox.attempt, 0);
}

#[test]
fn a_lost_sandbox_is_made_anew_and_init_containers_run_again() {
    let mut world = World::new(message(
        vec![container("i")],
        vec![container("a"), container("b")],
    ));
    world.begin().exit(0, 0);
    let recorded = world.exit_of(2, 7, 0);
    world.missing_images.insert(0, ImageFailure::Pull("later".into()));
    world.give(Input::SandboxLost {
        exits: vec![recorded],
    });
    assert_eq!(
        (world.state(1), world.state(2)),
        ("ContainerStatusUnknown".into(), "Error".into())
    );
    assert_eq!(world.status().sandbox.attempt, 1);
    assert!(
        world
            .events()
            .contains(&"SandboxChanged: Pod sandbox changed, it will be killed and re-created.".into())
    );
    world.missing_images.clear();
    world.seconds(10);
    assert_eq!(world.starts(), [0, 1, 2, 0]);
    world.exit(0, 0);
    assert_eq!(world.starts(), [0, 1, 2, 0, 1, 2]);
    assert_eq!(
        (
            world.container(2).restart_count,
            world.container(2).last_state.unwrap().exit_code
        ),
        (1, 7)
    );

    let mut world = World::new(with_policy(message(vec![], vec![container("a")]), Never));
    world.begin().give(Input::SandboxLost { exits: vec![] });
    assert_eq!((world.phase(), world.starts().len()), (Phase::Failed, 1));
    assert!(world.status().finished);
}

#[test]
fn a_changed_image_restarts_its_container_at_once() {
    let mut world = World::new(with_policy(
        message(vec![], vec![container("a"), container("b")]),
        Never,
    ));
    world.begin();
    let mut new = with_policy(message(vec![], vec![container("a"), container("b")]), Never);
    new.containers[1].image = "example.org/b:2".into();
    new.labels.insert("version".into(), "2".into());
    new.generation = 2;
    world.give(Input::Update(pod(new)));
    assert_eq!(world.starts(), [0, 1, 1]);
    let status = world.status();
    assert_eq!(
        (status.observed_generation, status.labels["version"].as_str()),
        (2, "2")
    );
    assert_eq!(
        (
            status.containers[1].image.as_str(),
            status.containers[1].restart_count
        ),
        ("example.org/b:2", 1)
    );
    assert!(
        world
            .events()
            .contains(&"Killing: Container b definition changed, will be restarted".into())
    );
}

#[test]
fn the_active_deadline_fails_a_pod() {
    let mut pod = message(vec![], vec![container("a")]);
    pod.active_deadline_seconds = Some(5);
    let mut world = World::new(pod);
    world.begin().seconds(4);
    assert_eq!(world.phase(), Phase::Running);
    world.seconds(1);
    let status = world.status();
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (Phase::Failed, "DeadlineExceeded")
    );
    assert_eq!(
        status.message,
        "Pod was active on the node longer than the specified deadline"
    );
    assert!(!status.stopping && status.finished);
}

#[test]
fn liveness_restarts_and_readiness_only_tells() {
    let mut a = container("a");
    (a.liveness_probe, a.readiness_probe) = (Some(probe()), Some(probe()));
    let mut world = World::new(message(vec![], vec![a]));
    world
        .probes
        .insert((0, ProbeKind::Readiness), Probed::Failure("busy".into()));
    world.begin().seconds(1);
    assert_eq!(
        (world.container(0).ready, world.container(0).started),
        (false, true)
    );
    world.probes.clear();
    world.seconds(1);
    assert!(world.container(0).ready);
    world
        .probes
        .insert((0, ProbeKind::Liveness), Probed::Failure("dead".into()));
    world.seconds(2);
    assert_eq!(world.starts(), [0], "three failures in a row are needed");
    world.seconds(1);
    assert_eq!(world.starts(), [0, 0]);
    let events = world.events();
    assert!(events.contains(&"Unhealthy: Liveness probe failed: dead".into()));
    assert!(events.contains(&"Killing: Container a failed liveness probe, will be restarted".into()));
}

#[test]
fn a_post_start_hook_holds_back_the_next_container() {
    let mut a = container("a");
    a.post_start = Some(hook());
    let mut world = World::new(message(vec![], vec![a, container("b")]));
    world.endless_hooks = true;
    world.begin();
    assert_eq!(world.starts(), [0]);
    let failed = Input::HookEnded {
        container: super::super::Index(0),
        attempt: 0,
        hook: crate::schedule::machine::HookKind::PostStart,
        result: Err("exit 1".into()),
    };
    world.give(failed);
    assert_eq!(world.state(0), "PostStartHookError");
    assert_eq!(world.starts(), [0, 1]);
}

#[test]
fn a_pod_without_its_secrets_waits_for_its_owner() {
    let now = moment(100);
    let found = super::restored::found(&pod(message(vec![], vec![container("a")])), false);
    let machine =
        crate::schedule::machine::Machine::restore(pod(message(vec![], vec![container("a")])), found, now);
    let mut world = World::with(machine, now);
    world.begin();
    assert_eq!(
        (world.status().reason.as_str(), world.starts().len()),
        ("SecretsMissing", 0)
    );
    world.give(Input::Update(pod(message(vec![], vec![container("a")]))));
    assert_eq!(
        (world.status().reason.as_str(), world.phase()),
        ("", Phase::Running)
    );
}

pub(super) fn probe() -> runtime::Probe {
    let tcp = runtime::TcpSocketAction {
        port: 80,
        ..Default::default()
    };
    let handler = runtime::Handler {
        action: Some(runtime::handler::Action::TcpSocket(tcp)),
    };
    runtime::Probe {
        handler: Some(handler),
        period_seconds: 1,
        ..Default::default()
    }
}

pub(super) fn hook() -> runtime::Handler {
    let exec = runtime::ExecAction {
        command: vec!["true".into()],
    };
    runtime::Handler {
        action: Some(runtime::handler::Action::Exec(exec)),
    }
}
