use auraed_api::runtime::v0 as runtime;
use auraed_api::schedule::v0 as schedule;
use auraed_image::ImageConfig;
use auraed_types::{ContainerId, Pod};

use super::*;

fn pod(change: impl FnOnce(&mut schedule::Pod)) -> Pod {
    let mut pod = schedule::Pod {
        id: "u".into(),
        name: "web".into(),
        namespace: "default".into(),
        containers: vec![runtime::Container {
            name: "c".into(),
            image: "busybox".into(),
            ..runtime::Container::default()
        }],
        ..schedule::Pod::default()
    };
    change(&mut pod);
    pod.try_into().unwrap()
}

fn specify(pod: &Pod, image: &ImageConfig, places: &Places) -> Result<ContainerSpec, StartFailure> {
    let facts = Facts {
        pod,
        container: &pod.containers[0],
        attempt: 0,
        id: &ContainerId::new("0".repeat(64)).unwrap(),
        image,
        addresses: &["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        node_memory_bytes: 1 << 34,
        places,
    };
    container(&facts)
}

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/entry".into()],
        command: vec!["default".into()],
        env: vec!["PATH=/bin".into(), "A=image".into()],
        ..ImageConfig::default()
    }
}

fn variable(name: &str, source: runtime::environment_variable::Source) -> runtime::EnvironmentVariable {
    runtime::EnvironmentVariable {
        name: name.into(),
        source: Some(source),
        sensitive: false,
    }
}

fn args_of(command: &[&str], args: &[&str]) -> Vec<String> {
    let pod = pod(|pod| {
        pod.containers[0].command = command.iter().map(|&text| text.to_owned()).collect();
        pod.containers[0].args = args.iter().map(|&text| text.to_owned()).collect();
    });
    specify(&pod, &image(), &Places::default()).unwrap().args
}

#[test]
fn command_and_arguments_replace_the_images() {
    assert_eq!(args_of(&[], &[]), ["/entry", "default"]);
    assert_eq!(args_of(&[], &["x"]), ["/entry", "x"]);
    assert_eq!(args_of(&["sh"], &[]), ["sh"]);
    assert_eq!(args_of(&["sh"], &["-c"]), ["sh", "-c"]);
}

#[test]
fn nothing_to_execute_is_told() {
    let failure = specify(&pod(|_| {}), &ImageConfig::default(), &Places::default()).unwrap_err();
    assert!(matches!(failure, StartFailure::Create(message) if message.starts_with("no command specified")));
}

#[test]
fn references_see_what_came_before_them() {
    use runtime::environment_variable::Source;
    let pod = pod(|pod| {
        let container = &mut pod.containers[0];
        container.env = vec![
            variable("A", Source::Value("$(B)".into())),
            variable("B", Source::Template("$(A)-$(LATER)-$$(A)-$x-$(".into())),
            variable("LATER", Source::Value("late".into())),
            variable("IP", Source::Field(runtime::PodField::Address.into())),
            variable("IPS", Source::Field(runtime::PodField::Addresses.into())),
        ];
        container.args = vec!["$(LATER) $(NONE) $$(A)".into()];
    });
    let spec = specify(&pod, &image(), &Places::default()).unwrap();
    let expected = [
        "PATH=/bin",
        "A=image",
        "A=$(B)",
        "B=$(B)-$(LATER)-$(A)-$x-$(",
        "LATER=late",
        "IP=10.0.0.2",
        "IPS=10.0.0.2,fd00::2",
    ];
    assert_eq!(spec.env, expected);
    assert_eq!(spec.args[1], "late $(NONE) $(A)");
}

#[test]
fn a_root_that_is_not_wanted_is_refused() {
    let message = |user: Option<u32>, image_user: &str| {
        let pod = pod(|pod| {
            let security = runtime::SecurityContext {
                run_as_user: user,
                run_as_non_root: true,
                ..Default::default()
            };
            pod.containers[0].security = Some(security);
        });
        let image = ImageConfig {
            user: image_user.into(),
            ..image()
        };
        match specify(&pod, &image, &Places::default()) {
            Ok(spec) => spec.user.name,
            Err(StartFailure::Config(message)) => message,
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(message(None, "1000:5"), "1000:5");
    assert_eq!(message(Some(7), ""), "7");
    let place = "(pod: \"web_default(u)\", container: c)";
    assert_eq!(
        message(None, ""),
        format!("container has runAsNonRoot and image will run as root {place}")
    );
    assert_eq!(
        message(Some(0), "5"),
        format!("container's runAsUser breaks non-root policy {place}")
    );
    assert!(
        message(None, "nobody")
            .starts_with("container has runAsNonRoot and image has non-numeric user (nobody)")
    );
}

#[test]
fn volumes_take_the_place_of_the_pods_own_files_and_deeper_ones_come_later() {
    let pod = pod(|pod| {
        let volume = |name: &str| schedule::Volume {
            name: name.into(),
            source: Some(schedule::volume::Source::EmptyDirectory(
                schedule::EmptyDirectory::default(),
            )),
        };
        pod.volumes = vec![volume("a"), volume("b")];
        let mount = |volume: &str, path: &str| runtime::VolumeMount {
            volume: volume.into(),
            path: path.into(),
            ..Default::default()
        };
        pod.containers[0].mounts = vec![
            mount("a", "/data/deep"),
            mount("b", "/data"),
            mount("a", "/etc/hosts"),
        ];
    });
    let mut places = Places {
        termination_message: "/node/message".into(),
        ..Places::default()
    };
    places.etc = [
        ("/etc/hosts", "/node/hosts".into()),
        ("/etc/resolv.conf", "/node/resolv".into()),
    ]
    .into();
    places.volumes = pod
        .volumes
        .iter()
        .map(|volume| (volume.name.clone(), format!("/node/{}", volume.name).into()))
        .collect();
    let spec = specify(&pod, &image(), &places).unwrap();
    let targets: Vec<&str> = spec.mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(
        targets,
        [
            "/etc/resolv.conf",
            "/data",
            "/data/deep",
            "/etc/hosts",
            "/dev/termination-log"
        ]
    );
}

#[test]
fn a_pod_is_bounded_where_all_its_containers_are() {
    let resources = |cpu: Option<u64>, memory: Option<u64>| {
        Some(runtime::Resources {
            cpu_limit_millicores: cpu,
            memory_limit_bytes: memory,
            ..Default::default()
        })
    };
    let two = |second: Option<runtime::Resources>| {
        pod(|pod| {
            pod.containers.push(runtime::Container {
                name: "d".into(),
                ..pod.containers[0].clone()
            });
            pod.containers[0].resources = resources(Some(500), Some(1000));
            pod.containers[1].resources = second;
        })
    };
    let limits = pod_limits(&two(resources(Some(250), None)));
    assert_eq!(
        (limits.cpu_shares, limits.cpu_quota_us, limits.memory_bytes),
        (Some(768), Some(75_000), None)
    );
    let limits = pod_limits(&two(None));
    assert_eq!(
        (limits.cpu_shares, limits.cpu_quota_us, limits.memory_bytes),
        (Some(512), None, None)
    );
    let limits = pod_limits(&pod(|_| {}));
    assert_eq!(limits.cpu_shares, Some(2));
}

#[test]
fn who_asks_for_memory_is_killed_later() {
    let score = |request: Option<u64>, limit: Option<u64>, cpu: Option<u64>| {
        let pod = pod(|pod| {
            pod.containers[0].resources = Some(runtime::Resources {
                memory_request_bytes: request,
                memory_limit_bytes: limit,
                cpu_limit_millicores: cpu,
                ..Default::default()
            });
        });
        specify(&pod, &image(), &Places::default()).unwrap().oom_score_adj
    };
    assert_eq!(score(None, None, None), 1000);
    assert_eq!(score(Some(1 << 33), None, None), 500);
    assert_eq!(score(Some(1), None, None), 999);
    assert_eq!(score(None, Some(1 << 30), Some(1000)), -997);
}
