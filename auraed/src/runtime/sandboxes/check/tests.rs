//! What is refused, by its field.

use super::*;
use api::{ContainerMount, ContainerSpec, NamespaceMode, SandboxSpec};

fn sandbox_spec() -> SandboxSpec {
    SandboxSpec {
        id: "s-1".into(),
        name: "name".into(),
        ..SandboxSpec::default()
    }
}

fn container_spec() -> ContainerSpec {
    ContainerSpec {
        id: "c1".into(),
        sandbox: "s-1".into(),
        name: "main".into(),
        image: "busybox".into(),
        ..ContainerSpec::default()
    }
}

fn fields(result: Result<(), SandboxError>) -> Vec<String> {
    match result {
        Ok(()) => Vec::new(),
        Err(error) => error
            .problems()
            .iter()
            .map(|problem| problem.field.clone())
            .collect(),
    }
}

#[test]
fn the_least_spec_is_enough() {
    assert_eq!(fields(sandbox(&sandbox_spec())), Vec::<String>::new());
    assert_eq!(fields(container(&container_spec())), Vec::<String>::new());
    assert_eq!(
        fields(fits(&container_spec(), &sandbox_spec())),
        Vec::<String>::new()
    );
}

#[test]
fn every_wrong_field_of_a_sandbox_is_named() {
    let spec = SandboxSpec {
        id: "-s".into(),
        name: String::new(),
        hostname: "h".repeat(65),
        log_directory: "relative".into(),
        cgroup_parent: "/a/../b".into(),
        network: NamespaceMode::Container.into(),
        pid: NamespaceMode::Target.into(),
        sysctls: [("no dots".to_owned(), String::new())].into(),
        network_arguments: [("A".to_owned(), "b;c".to_owned())].into(),
        dns: Some(api::SandboxDns {
            servers: vec!["fe80::1%eth0".into(), "dns.example".into()],
            searches: vec!["a b".into()],
            options: Vec::new(),
        }),
        ports: vec![api::SandboxPort {
            host_port: 70_000,
            host_address: "here".into(),
            ..api::SandboxPort::default()
        }],
        ..SandboxSpec::default()
    };
    let expected = [
        "id",
        "name",
        "hostname",
        "log_directory",
        "cgroup_parent",
        "network",
        "pid",
        "dns.servers[1]",
        "dns.searches[0]",
        "ports[0].container_port",
        "ports[0].host_port",
        "ports[0].host_address",
        "sysctls[no dots]",
        "network_arguments[A]",
    ];
    assert_eq!(fields(sandbox(&spec)), expected);
}

#[test]
fn every_wrong_field_of_a_container_is_named() {
    let security = api::ProcessSecurity {
        run_as_group: Some(1),
        pid_target: "other".into(),
        masked_paths: vec!["proc".into()],
        seccomp: Some(api::SecurityProfile {
            kind: api::SecurityProfileKind::Localhost.into(),
            localhost: String::new(),
        }),
        selinux: Some(api::SelinuxOptions {
            level: "s0".into(),
            ..api::SelinuxOptions::default()
        }),
        ..api::ProcessSecurity::default()
    };
    let spec = ContainerSpec {
        args: vec!["a\0".into()],
        env: vec![api::KeyValue {
            name: "A=B".into(),
            value: String::new(),
        }],
        mounts: vec![
            ContainerMount {
                container_path: "data".into(),
                ..ContainerMount::default()
            },
            ContainerMount {
                container_path: "/x".into(),
                image: "i".into(),
                image_sub_path: "../x".into(),
                recursive_read_only: true,
                ..ContainerMount::default()
            },
        ],
        stdin_once: true,
        stop_signal: "SIGNOTHING".into(),
        resources: Some(api::LinuxResources {
            oom_score_adj: Some(1001),
            cpu_period_us: Some(10),
            unified: [("cgroup.procs".to_owned(), "1".to_owned())].into(),
            ..api::LinuxResources::default()
        }),
        security: Some(security),
        ..container_spec()
    };
    let expected = [
        "args[0]",
        "env[0].name",
        "mounts[0].container_path",
        "mounts[0].host_path",
        "mounts[1].image_sub_path",
        "mounts[1].recursive_read_only",
        "stdin_once",
        "resources.cpu_period_us",
        "resources.oom_score_adj",
        "resources.unified[cgroup.procs]",
        "security.run_as_group",
        "security.pid_target",
        "security.masked_paths[0]",
        "security.seccomp.localhost",
        "security.seccomp.localhost",
        "security.selinux",
        "stop_signal",
    ];
    assert_eq!(fields(container(&spec)), expected);
}

#[test]
fn a_containers_namespaces_are_those_of_its_sandbox() {
    let with = |pid: NamespaceMode, privileged| ContainerSpec {
        security: Some(api::ProcessSecurity {
            pid: pid.into(),
            privileged,
            ..api::ProcessSecurity::default()
        }),
        ..container_spec()
    };
    let own = SandboxSpec {
        pid: NamespaceMode::Container.into(),
        ..sandbox_spec()
    };
    assert_eq!(
        fields(fits(&with(NamespaceMode::Node, false), &own)),
        ["security.pid"]
    );
    assert_eq!(
        fields(fits(&with(NamespaceMode::Unspecified, false), &own)),
        ["security.pid"]
    );
    assert_eq!(
        fields(fits(&with(NamespaceMode::Container, true), &own)),
        ["security.privileged"]
    );
}
