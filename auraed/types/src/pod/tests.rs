//! Pods from the wire, back to it, and to a disk.

use auraed_api::runtime::v0 as runtime;
use auraed_api::schedule::v0 as api;
use proptest::prelude::*;

use super::{Pod, PullPolicy, check_files};
use crate::{InvalidPod, QosClass};

fn container(name: &str) -> runtime::Container {
    runtime::Container {
        name: name.into(),
        image: "example.org/image:1".into(),
        ..Default::default()
    }
}

fn message() -> api::Pod {
    api::Pod {
        id: "uid-1".into(),
        name: "web".into(),
        containers: vec![container("c")],
        ..Default::default()
    }
}

fn pod(change: impl FnOnce(&mut api::Pod)) -> Result<Pod, InvalidPod> {
    let mut message = message();
    change(&mut message);
    Pod::try_from(message)
}

fn problems(change: impl FnOnce(&mut api::Pod)) -> Vec<String> {
    let invalid = pod(change).unwrap_err();
    invalid.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_filled_in() {
    let pod = pod(|_| {}).unwrap();
    assert_eq!(
        (
            pod.namespace.as_str(),
            pod.hostname.as_str(),
            pod.grace_period.as_secs()
        ),
        ("default", "web", 30)
    );
    let container = &pod.containers[0];
    assert_eq!(container.termination_message_path, "/dev/termination-log");
    assert!(!pod.holds_secrets());
}

#[test]
fn a_long_name_is_cut_for_the_hostname() {
    let name = format!("{}-{}", "a".repeat(62), "b".repeat(20));
    assert_eq!(pod(|pod| pod.name = name).unwrap().hostname, "a".repeat(62));
}

#[test]
fn the_tag_decides_when_to_pull() {
    let policy = |image: &str| {
        pod(|pod| pod.containers[0].image = image.into())
            .unwrap()
            .containers[0]
            .pull_policy
    };
    for image in [
        "busybox",
        "busybox:latest",
        "host:5000/busybox",
        "host:5000/a/b:latest",
    ] {
        assert_eq!(policy(image), PullPolicy::Always, "{image}");
    }
    for image in [
        "busybox:1",
        "host:5000/busybox:1",
        "busybox@sha256:abc",
        "busybox:latest@sha256:abc",
    ] {
        assert_eq!(policy(image), PullPolicy::IfNotPresent, "{image}");
    }
}

#[test]
fn every_problem_is_named_with_its_path() {
    let found = problems(|pod| {
        pod.id = "a/b".into();
        pod.init_containers = vec![container("c")];
        pod.containers[0].mounts = vec![runtime::VolumeMount {
            volume: "gone".into(),
            path: "x".into(),
            ..Default::default()
        }];
        pod.containers[0].security = Some(runtime::SecurityContext {
            add_capabilities: vec!["FLY".into()],
            ..Default::default()
        });
        pod.volumes = vec![api::Volume {
            name: "v".into(),
            source: None,
        }];
        pod.sysctls.insert("kernel.panic".into(), "1".into());
    });
    let expected = [
        "id: \"a/b\" must consist of letters, digits, '.', '_' and '-', and not begin with a dot",
        "volumes[0]: must have a source that this node knows",
        "containers[0].mounts[0].path: must be an absolute path",
        "containers[0].security.add_capabilities[0]: \"FLY\" is not a capability this node knows",
        "containers[0].mounts[0].volume: the pod has no volume \"gone\"",
        "sysctls[kernel.panic]: would change the node: it has no namespace of its own",
    ];
    for expected in expected {
        assert!(
            found.iter().any(|problem| problem == expected),
            "{expected}\nis not in {found:#?}"
        );
    }
    assert!(
        found.contains(&"containers[0].name: \"c\" is the name of two containers".to_owned()),
        "{found:#?}"
    );
}

#[test]
fn what_a_plain_init_container_cannot_have_is_refused() {
    let probe = || {
        let tcp = runtime::TcpSocketAction {
            port: 80,
            ..Default::default()
        };
        let handler = runtime::Handler {
            action: Some(runtime::handler::Action::TcpSocket(tcp)),
        };
        Some(runtime::Probe {
            handler: Some(handler),
            ..Default::default()
        })
    };
    let found = problems(|pod| {
        pod.init_containers = vec![runtime::Container {
            readiness_probe: probe(),
            ..container("i")
        }];
        pod.containers[0].restart_policy = runtime::RestartPolicy::Always.into();
    });
    assert_eq!(
        found,
        [
            "init_containers[0].readiness_probe: is only for containers and for init containers with restart_policy ALWAYS",
            "containers[0].restart_policy: is only for init containers",
        ]
    );
    let sidecar = runtime::Container {
        readiness_probe: probe(),
        restart_policy: runtime::RestartPolicy::Always.into(),
        ..container("i")
    };
    assert!(
        pod(|pod| pod.init_containers = vec![sidecar])
            .unwrap()
            .init_containers[0]
            .sidecar
    );
}

#[test]
fn paths_that_lead_out_are_refused() {
    let file = |path: &str| api::File {
        path: path.into(),
        ..Default::default()
    };
    let refused = |paths: &[&str]| {
        check_files(api::Files {
            files: paths.iter().map(|path| file(path)).collect(),
            sensitive: false,
        })
        .is_err()
    };
    for path in [
        "", "/a", "../a", "a/../b", "a//b", "./a", "..data", "..2026/a", "a\0",
    ] {
        assert!(refused(&[path]), "{path:?}");
    }
    assert!(refused(&["a", "a"]) && refused(&["a", "a/b"]) && refused(&["a/b", "a-", "a"]));
    assert!(!refused(&["a", "a-b", "b/c", "b/.d"]));
    let sub_path = |path: &str| {
        pod(|pod| {
            let source = api::volume::Source::EmptyDirectory(api::EmptyDirectory::default());
            pod.volumes = vec![api::Volume {
                name: "v".into(),
                source: Some(source),
            }];
            pod.containers[0].mounts = vec![runtime::VolumeMount {
                volume: "v".into(),
                path: "/x".into(),
                sub_path: path.into(),
                ..Default::default()
            }];
        })
        .is_ok()
    };
    assert!(sub_path("a/b") && sub_path("$(NAME)") && !sub_path("/a") && !sub_path("a/../.."));
}

#[test]
fn host_ports_are_checked() {
    let port = |host_port: u32| runtime::Port {
        container_port: 80,
        host_port,
        ..Default::default()
    };
    let twice = problems(|pod| pod.containers[0].ports = vec![port(8080), port(8080)]);
    assert_eq!(twice, ["containers[0].ports[1].host_port: 8080 is mapped twice"]);
    let other = problems(|pod| {
        pod.host_network = true;
        pod.containers[0].ports = vec![port(8080)];
    });
    assert_eq!(
        other,
        ["containers[0].ports[0].host_port: must equal container_port in a pod with host_network"]
    );
    assert_eq!(
        problems(|pod| pod.containers[0].ports = vec![port(70000)]).len(),
        1
    );
}

#[test]
fn classes_of_service_follow_requests_and_limits() {
    let class = |resources: &[runtime::Resources]| {
        let containers = resources
            .iter()
            .enumerate()
            .map(|(index, resources)| runtime::Container {
                resources: Some(*resources),
                ..container(&format!("c{index}"))
            });
        pod(|pod| pod.containers = containers.collect())
            .unwrap()
            .qos_class()
    };
    let none = runtime::Resources::default();
    let whole = runtime::Resources {
        cpu_limit_millicores: Some(100),
        memory_limit_bytes: Some(100),
        memory_request_bytes: Some(100),
        ..none
    };
    let some = runtime::Resources {
        cpu_request_millicores: Some(100),
        ..none
    };
    assert_eq!(class(&[none]), QosClass::BestEffort);
    assert_eq!(
        class(&[runtime::Resources {
            cpu_request_millicores: Some(0),
            ..none
        }]),
        QosClass::BestEffort
    );
    assert_eq!(class(&[whole, whole]), QosClass::Guaranteed);
    assert_eq!(class(&[whole, none]), QosClass::Burstable);
    assert_eq!(
        class(&[runtime::Resources {
            memory_request_bytes: Some(50),
            ..whole
        }]),
        QosClass::Burstable
    );
    assert_eq!(class(&[some]), QosClass::Burstable);
}

#[test]
fn what_is_written_to_a_disk_holds_no_secret() {
    use runtime::environment_variable::Source;
    const SECRET: &str = "hush";
    let variable = |sensitive| runtime::EnvironmentVariable {
        name: "NAME".into(),
        sensitive,
        source: Some(Source::Value(SECRET.into())),
    };
    let files = |sensitive| {
        let file = api::File {
            path: "key".into(),
            content: SECRET.as_bytes().to_vec().into(),
            ..Default::default()
        };
        Some(api::volume::Source::Files(api::Files {
            files: vec![file],
            sensitive,
        }))
    };
    let secret = pod(|pod| {
        pod.containers[0].env = vec![variable(true)];
        pod.volumes = vec![api::Volume {
            name: "v".into(),
            source: files(true),
        }];
        pod.credentials = vec![runtime::RegistryCredentials {
            registry: "example.org".into(),
            username: "someone".into(),
            password: SECRET.into(),
            identity_token: SECRET.into(),
            registry_token: SECRET.into(),
        }];
    })
    .unwrap();
    assert!(secret.holds_secrets());
    let redacted = secret.redacted();
    assert!(!format!("{redacted:?}").contains(SECRET));
    assert!(!format!("{secret:?}").contains(SECRET), "Debug hides it, too");
    assert!(
        Pod::try_from(redacted).unwrap().holds_secrets(),
        "it can be told that something is missing"
    );

    let open = pod(|pod| {
        pod.containers[0].env = vec![variable(false)];
        pod.volumes = vec![api::Volume {
            name: "v".into(),
            source: files(false),
        }];
    })
    .unwrap();
    assert!(!open.holds_secrets());
    assert_eq!(open.redacted(), api::Pod::from(&open));
}

fn texts() -> impl Strategy<Value = String> {
    "[ -~]{0,12}"
}

fn probes() -> impl Strategy<Value = Option<runtime::Probe>> {
    use runtime::handler::Action;
    let exec = prop::collection::vec(texts(), 1..3)
        .prop_map(|command| Action::Exec(runtime::ExecAction { command }));
    let http = (any::<u16>(), texts(), any::<bool>()).prop_map(|(port, path, https)| {
        Action::HttpGet(runtime::HttpGetAction {
            port: u32::from(port.max(1)),
            path,
            https,
            ..Default::default()
        })
    });
    let probe =
        (prop_oneof![exec, http], 0..100u32, 0..100u32).prop_map(|(action, delay, period)| runtime::Probe {
            handler: Some(runtime::Handler { action: Some(action) }),
            initial_delay_seconds: delay,
            period_seconds: period,
            ..Default::default()
        });
    prop::option::of(probe)
}

fn containers() -> impl Strategy<Value = runtime::Container> {
    let numbers = (
        prop::option::of(0..4000u64),
        prop::option::of(0..1u64 << 40),
        any::<u8>(),
    );
    let env = prop::collection::vec(("[A-Z_]{1,8}", texts(), any::<bool>()), 0..4);
    (
        prop::collection::vec(texts(), 0..3),
        env,
        numbers,
        probes(),
        any::<bool>(),
    )
        .prop_map(
            |(args, env, (cpu, memory, bits), probe, sidecar)| runtime::Container {
                args,
                env: env
                    .into_iter()
                    .map(|(name, value, sensitive)| runtime::EnvironmentVariable {
                        name,
                        sensitive,
                        source: Some(runtime::environment_variable::Source::Template(value)),
                    })
                    .collect(),
                resources: Some(runtime::Resources {
                    cpu_request_millicores: cpu,
                    memory_limit_bytes: memory,
                    ..Default::default()
                }),
                security: Some(runtime::SecurityContext {
                    privileged: bits & 1 != 0,
                    read_only_root: bits & 2 != 0,
                    run_as_user: (bits & 4 != 0).then_some(u32::from(bits)),
                    drop_capabilities: if bits & 8 != 0 {
                        vec!["cap_all".into()]
                    } else {
                        vec![]
                    },
                    ..Default::default()
                }),
                mounts: vec![runtime::VolumeMount {
                    volume: "v".into(),
                    path: "/v".into(),
                    read_only: bits & 16 != 0,
                    ..Default::default()
                }],
                liveness_probe: probe,
                restart_policy: if sidecar {
                    runtime::RestartPolicy::Always.into()
                } else {
                    0
                },
                ..container("x")
            },
        )
}

proptest! {
    /// A valid pod comes back from the wire as it was.
    #[test]
    fn valid_pods_survive_the_wire(
        init in prop::collection::vec(containers(), 0..3),
        main in prop::collection::vec(containers(), 1..3),
        grace in prop::option::of(0..1000u64),
        labels in prop::collection::hash_map("[a-z]{1,5}", texts(), 0..3),
        fs_group in prop::option::of(any::<u32>()),
    ) {
        let mut message = api::Pod { grace_period_seconds: grace, labels, fs_group, ..message() };
        message.init_containers = init;
        message.containers = main;
        let all = message.init_containers.iter_mut().chain(&mut message.containers);
        for (index, container) in all.enumerate() {
            container.name = format!("c{index}");
        }
        for container in &mut message.init_containers {
            container.restart_policy = runtime::RestartPolicy::Always.into();
        }
        for container in &mut message.containers {
            container.restart_policy = 0;
        }
        let files = api::Files { files: vec![api::File { path: "a/b".into(), mode: 0o400, ..Default::default() }], sensitive: true };
        message.volumes = vec![api::Volume { name: "v".into(), source: Some(api::volume::Source::Files(files)) }];
        let pod = Pod::try_from(message).unwrap();
        let again = Pod::try_from(api::Pod::from(&pod)).unwrap();
        prop_assert_eq!(&again, &pod);
        prop_assert!(Pod::try_from(pod.redacted()).is_ok());
    }

    /// Whatever bytes come, decoding them never panics.
    #[test]
    fn any_bytes_are_a_pod_or_problems(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        use prost::Message as _;
        if let Ok(message) = api::Pod::decode(bytes.as_slice()) {
            let _ = Pod::try_from(message);
        }
    }
}
