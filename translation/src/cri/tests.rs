//! What kubelet sends, and what it insists on in answers (its `verifySandboxStatus` and `verifyContainerStatus`).

use std::collections::HashMap;

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;
use prost_types::Timestamp;

use super::*;

fn map(entries: &[(&str, &str)]) -> HashMap<String, String> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn sandbox_config() -> cri::PodSandboxConfig {
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: "web".into(),
            uid: "8f1c".into(),
            namespace: "default".into(),
            attempt: 0,
        }),
        hostname: "web".into(),
        log_directory: "/var/log/pods/default_web_8f1c".into(),
        dns_config: Some(cri::DnsConfig {
            servers: vec!["10.96.0.10".into()],
            searches: vec!["default.svc.cluster.local".into()],
            options: vec!["ndots:5".into()],
        }),
        port_mappings: vec![cri::PortMapping {
            protocol: cri::Protocol::Udp as i32,
            container_port: 53,
            host_port: 0,
            host_ip: String::new(),
        }],
        labels: map(&[("io.kubernetes.pod.uid", "8f1c"), ("app", "web")]),
        annotations: map(&[("kubernetes.io/config.source", "api")]),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: "/kubepods/burstable/pod8f1c".into(),
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(cri::NamespaceOption {
                    pid: cri::NamespaceMode::Container as i32,
                    userns_options: Some(cri::UserNamespace {
                        mode: cri::NamespaceMode::Node as i32,
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        windows: None,
    }
}

fn container_config() -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: "main".into(),
            attempt: 2,
        }),
        image: Some(cri::ImageSpec {
            image: "sha256:1234".into(),
            user_specified_image: "registry.example/web:1".into(),
            ..Default::default()
        }),
        envs: vec![cri::KeyValue {
            key: "PATH".into(),
            value: b"/bin".to_vec(),
        }],
        mounts: vec![cri::Mount {
            container_path: "/dev/termination-log".into(),
            host_path: "/var/lib/kubelet/pods/8f1c/containers/main/0".into(),
            ..Default::default()
        }],
        labels: map(&[("io.kubernetes.container.name", "main")]),
        annotations: map(&[("io.kubernetes.container.hash", "cafe")]),
        log_path: "main/2.log".into(),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(cri::LinuxContainerResources {
                cpu_shares: 102,
                oom_score_adj: 1000,
                ..Default::default()
            }),
            security_context: None,
        }),
        ..Default::default()
    }
}

#[test]
fn a_pods_sandbox_is_asked_for() {
    let spec = sandbox::spec(&sandbox_config(), "").unwrap();
    assert_eq!(spec.cgroup_parent, "/kubepods/burstable/pod8f1c");
    assert_eq!(spec.pid(), aurae::NamespaceMode::Container);
    assert_eq!(spec.user_namespace, None);
    assert_eq!(spec.ports[0].protocol(), aurae::Protocol::Udp);
    assert_eq!(
        spec.network_arguments,
        map(&[
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAME", "web"),
            ("K8S_POD_NAMESPACE", "default"),
            ("K8S_POD_UID", "8f1c"),
            ("K8S_POD_INFRA_CONTAINER_ID", &spec.id),
        ])
    );
}

#[test]
fn a_sandboxs_status_has_what_kubelet_insists_on() {
    let config = sandbox_config();
    let answer = aurae::SandboxStatus {
        spec: Some(sandbox::spec(&config, "").unwrap()),
        state: aurae::SandboxState::Ready as i32,
        created_at: Some(Timestamp { seconds: 7, nanos: 9 }),
        addresses: vec!["10.0.0.2".into(), "fd00::2".into()],
        ..Default::default()
    };
    let status = sandbox::status_response(&answer, &[], false, 1).status.unwrap();
    assert!(id::is_whole(&status.id));
    assert_eq!(status.metadata, config.metadata);
    assert_eq!(status.created_at, 7_000_000_009);
    assert_eq!(status.state(), cri::PodSandboxState::SandboxReady);
    let network = status.network.unwrap();
    assert_eq!(network.ip, "10.0.0.2");
    assert_eq!(network.additional_ips[0].ip, "fd00::2");
    assert_eq!(status.labels, config.labels);
    assert_eq!(status.annotations, config.annotations);
    let options = config.linux.unwrap().security_context.unwrap().namespace_options;
    assert_eq!(status.linux.unwrap().namespaces.unwrap().options, options);
}

#[test]
fn a_users_namespace_comes_back_as_it_was_given() {
    let ids = vec![cri::IdMapping {
        host_id: 65536,
        container_id: 0,
        length: 65536,
    }];
    let given = cri::UserNamespace {
        mode: cri::NamespaceMode::Pod as i32,
        uids: ids.clone(),
        gids: ids,
    };
    let mut config = sandbox_config();
    let security = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    let options = security.namespace_options.as_mut().unwrap();
    options.userns_options = Some(given.clone());
    let spec = sandbox::spec(&config, "").unwrap();
    assert_eq!(namespaces::options_shown(&spec).userns_options, Some(given));
}

#[test]
fn a_containers_status_has_what_kubelet_insists_on() {
    let config = container_config();
    let answer = aurae::ContainerStatus {
        spec: Some(container::spec("5a", &config, &sandbox_config()).unwrap()),
        state: aurae::ContainerState::Exited as i32,
        created_at: Some(Timestamp { seconds: 1, nanos: 0 }),
        finished_at: Some(Timestamp { seconds: 2, nanos: 0 }),
        exit_code: 137,
        reason: "OOMKilled".into(),
        image_id: "sha256:1234".into(),
        stop_signal: "SIGTERM".into(),
        user: Some(aurae::ProcessUser {
            uid: 1000,
            gid: 1000,
            supplemental_groups: vec![1000, 2000],
        }),
        resources: Some(aurae::LinuxResources {
            cpu_shares: Some(102),
            ..Default::default()
        }),
        ..Default::default()
    };
    let status = container::status(&answer);
    assert!(id::is_whole(&status.id));
    assert_eq!(status.metadata, config.metadata);
    assert_eq!(status.state(), cri::ContainerState::ContainerExited);
    assert_eq!(
        (status.created_at, status.started_at, status.finished_at),
        (1_000_000_000, 0, 2_000_000_000)
    );
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    assert_eq!(status.image.as_ref().unwrap().image, "registry.example/web:1");
    // An image without a digest of a repository is known by its id.
    assert_eq!(
        (&*status.image_ref, &*status.image_id),
        ("sha256:1234", "sha256:1234")
    );
    assert_eq!(status.mounts, config.mounts);
    assert_eq!(status.log_path, "/var/log/pods/default_web_8f1c/main/2.log");
    assert_eq!(status.labels, config.labels);
    assert_eq!(status.annotations, config.annotations);
    assert_eq!(status.stop_signal(), cri::Signal::Sigterm);
    let resources = status.resources.unwrap().linux.unwrap();
    assert_eq!(resources.cpu_shares, 102);
    let user = status.user.unwrap().linux.unwrap();
    assert_eq!(
        (user.uid, user.gid, user.supplemental_groups),
        (1000, 1000, vec![1000, 2000])
    );
    let image_id = answer.image_id.clone();
    let item = container::item(answer);
    assert_eq!((item.pod_sandbox_id.as_str(), item.image_id), ("5a", image_id));
}

#[test]
fn a_container_that_has_not_run_says_nothing_of_who_it_is() {
    let status = container::status(&aurae::ContainerStatus::default());
    assert_eq!(status.state(), cri::ContainerState::ContainerUnknown);
    assert_eq!((status.user, status.resources), (None, None));
}

#[test]
fn an_event_of_a_sandbox_bears_its_id() {
    let spec = sandbox::spec(&sandbox_config(), "").unwrap();
    let id = spec.id.clone();
    let event = aurae::RuntimeEvent {
        kind: aurae::RuntimeEventKind::Removed as i32,
        sandbox: Some(aurae::SandboxStatus {
            spec: Some(spec),
            ..Default::default()
        }),
        ..Default::default()
    };
    let translated = event::translate(&event).unwrap();
    assert_eq!(translated.container_id, id);
    assert_eq!(
        translated.container_event_type(),
        cri::ContainerEventType::ContainerDeletedEvent
    );
    assert_eq!(event::translate(&aurae::RuntimeEvent::default()), None);
}

#[test]
fn every_problem_is_told_at_once() {
    let mut config = container_config();
    config.metadata = None;
    config.stop_signal = 99;
    config.linux = Some(cri::LinuxContainerConfig {
        security_context: Some(cri::LinuxContainerSecurityContext {
            run_as_group: Some(cri::Int64Value { value: -1 }),
            supplemental_groups: vec![1, i64::MAX],
            ..Default::default()
        }),
        resources: None,
    });
    let refused = container::spec("5a", &config, &sandbox_config()).unwrap_err();
    let mut fields: Vec<_> = refused.fields.iter().map(|one| one.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "config.linux.security_context.run_as_group",
            "config.linux.security_context.run_as_group",
            "config.linux.security_context.supplemental_groups[1]",
            "config.metadata.name",
            "config.stop_signal",
        ]
    );
}
