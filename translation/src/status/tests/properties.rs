//! Whatever auraed says, the API's rules hold.

use proptest::prelude::*;

use super::*;

fn any_state() -> impl Strategy<Value = Option<ContainerState>> {
    let times = || {
        proptest::option::of(any::<i64>().prop_map(|seconds| prost_types::Timestamp { seconds, nanos: -1 }))
    };
    prop_oneof![
        Just(None),
        Just(Some(ContainerState { state: None })),
        "[A-Z]?[a-z]{0,3}".prop_map(|reason| waiting_for(&reason)),
        times().prop_map(|started_at| state(State::Running(Running { started_at }))),
        (any::<i32>(), times(), ".{0,20}").prop_map(|(exit_code, finished_at, message)| state(
            State::Terminated(Terminated {
                exit_code,
                finished_at,
                message,
                ..Terminated::default()
            })
        )),
    ]
}

fn any_container() -> impl Strategy<Value = ContainerStatus> {
    (
        "first|side|main|other|unknown",
        any_state(),
        any_state(),
        any::<(bool, bool, u32)>(),
        "[a-f]{0,2}",
    )
        .prop_map(
            |(name, state, last_state, (ready, started, restart_count), container_id)| ContainerStatus {
                name,
                state,
                last_state,
                ready,
                started,
                restart_count,
                container_id,
                ..ContainerStatus::default()
            },
        )
}

fn any_seen() -> impl Strategy<Value = schedule::PodStatus> {
    let containers = || proptest::collection::vec(any_container(), 0..4);
    let sandbox = proptest::option::of((
        any::<bool>(),
        proptest::collection::vec("10\\.0\\.0\\.[0-9]|x|::1", 0..3),
    ));
    (
        0..6_i32,
        containers(),
        containers(),
        sandbox,
        any::<(bool, i64)>(),
    )
        .prop_map(
            |(phase, init_containers, containers, sandbox, (finished, observed_generation))| {
                schedule::PodStatus {
                    phase,
                    init_containers,
                    containers,
                    sandbox: sandbox.map(|(ready, addresses)| SandboxStatus {
                        ready,
                        addresses,
                        ..Default::default()
                    }),
                    finished,
                    observed_generation,
                    ..schedule::PodStatus::default()
                }
            },
        )
}

fn is_terminal(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

proptest! {
    #[test]
    fn the_rules_hold_over_a_life(life in proptest::collection::vec(any_seen(), 1..5)) {
        let spec = json!({
            "initContainers": [{ "name": "first" }, { "name": "side", "restartPolicy": "Always" }],
            "containers": [{ "name": "main" }, { "name": "other" }],
        });
        let mut pod = pod(spec, json!({}));
        for (index, seen) in life.into_iter().enumerate() {
            let time = Timestamp::from_second(1_000 + i64::try_from(index).unwrap()).unwrap();
            let old = pod.status.clone().unwrap();
            let new = to_kubernetes(&seen, &pod, &node(), time);
            let containers = new.container_statuses.as_ref().unwrap();
            let names: Vec<_> = containers.iter().map(|status| status.name.as_str()).collect();
            prop_assert_eq!(names, ["main", "other"]);
            prop_assert!(new.observed_generation >= old.observed_generation);
            if is_terminal(&old) {
                prop_assert_eq!(&new.phase, &old.phase);
            } else if is_terminal(&new) {
                prop_assert!(containers.iter().all(|status| status.state.as_ref().unwrap().running.is_none()));
            }
            if is_terminal(&new) {
                prop_assert_eq!(&condition(&new, "Ready").status, "False");
            }
            if old.start_time.is_some() {
                prop_assert_eq!(&new.start_time, &old.start_time);
            }
            let again = {
                let mut pod = pod.clone();
                pod.status = Some(new.clone());
                to_kubernetes(&seen, &pod, &node(), Timestamp::UNIX_EPOCH)
            };
            prop_assert_eq!(patch(&new, &again, "u-1"), None);
            pod.status = Some(new);
        }
    }
}
