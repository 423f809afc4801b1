use auraed_api::runtime::v0 as runtime;
use auraed_api::runtime::v0::environment_variable::Source;
use k8s_openapi::api::core::v1::Pod;
use serde::de::DeserializeOwned;

use super::*;
use crate::{Kind, TokenKey};

mod env;
mod network;
mod properties;
mod refusals;
mod security;
mod volumes;

fn yaml<T: DeserializeOwned>(text: &str) -> T {
    let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A pod with one container, `spec` and `container` being more lines of either (four and six spaces deep).
fn pod(spec: &str, container: &str) -> Pod {
    yaml(&format!(
        "metadata: {{ name: web, namespace: shop, uid: 0a1b2c3d, generation: 3, labels: {{ app: web }} }}\n\
         spec:\n  containers:\n  - name: main\n    image: nginx:1.27\n{container}\n{spec}\n"
    ))
}

fn node() -> Node {
    Node {
        name: "node-a".to_owned(),
        hostname: "machine".to_owned(),
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        cluster_domain: "cluster.local".to_owned(),
        cluster_dns: vec!["10.96.0.10".parse().unwrap()],
        host_searches: vec!["example.org".to_owned()],
        allocatable: yaml("{ cpu: '2', memory: 1Gi, ephemeral-storage: 10Gi }"),
        ..Node::default()
    }
}

fn objects() -> Objects {
    let key = |name: &str| ("shop".to_owned(), name.to_owned());
    Objects {
        config_maps: [(
            key("settings"),
            yaml("{ data: { COLOR: blue, 'log.level': debug }, binaryData: { blob: AAE= } }"),
        )]
        .into(),
        secrets: [
            (
                key("login"),
                yaml("{ data: { user: YWRh, password: aHVudGVyMg== } }"),
            ),
            (key("binary"), yaml("{ data: { bytes: gIGC } }")),
        ]
        .into(),
        ..Objects::default()
    }
}

fn translated(pod: &Pod) -> schedule::Pod {
    to_aurae(pod, &objects(), &node()).unwrap()
}

fn main(pod: &Pod) -> runtime::Container {
    translated(pod).containers.remove(0)
}

fn problems(pod: &Pod) -> Vec<Problem> {
    to_aurae(pod, &objects(), &node()).unwrap_err()
}

#[test]
fn a_plain_pod_is_translated_whole() {
    let translated = translated(&pod("", ""));
    let expected = schedule::Pod {
        id: "0a1b2c3d".to_owned(),
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        generation: 3,
        containers: vec![runtime::Container {
            name: "main".to_owned(),
            image: "nginx:1.27".to_owned(),
            security: Some(runtime::SecurityContext {
                seccomp: runtime::SeccompProfile::Unconfined.into(),
                ..Default::default()
            }),
            ..Default::default()
        }],
        restart_policy: RestartPolicy::Always.into(),
        hostname: "web".to_owned(),
        dns: Some(schedule::Dns {
            nameservers: vec!["10.96.0.10".to_owned()],
            searches: [
                "shop.svc.cluster.local",
                "svc.cluster.local",
                "cluster.local",
                "example.org",
            ]
            .map(str::to_owned)
            .to_vec(),
            options: vec!["ndots:5".to_owned()],
            include_host: false,
        }),
        source: "api".to_owned(),
        ..Default::default()
    };
    assert_eq!(translated, expected);
}

#[test]
fn a_container_keeps_what_it_says() {
    let container = main(&pod(
        "  terminationGracePeriodSeconds: 5\n  volumes: [{ name: data, emptyDir: {} }]",
        "    imagePullPolicy: Never
    command: [/bin/app, $(MODE)]
    args: ['--port=80']
    workingDir: /srv
    tty: true
    stdin: true
    stdinOnce: true
    terminationMessagePath: /tmp/end
    terminationMessagePolicy: FallbackToLogsOnError
    ports:
    - { name: web, containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1 }
    - { containerPort: 53, protocol: UDP }
    resources: { limits: { cpu: 1500m, memory: 128Mi }, requests: { cpu: 0.25 } }
    volumeMounts:
    - { name: data, mountPath: /data, readOnly: true, subPath: 'a/$(B)' }
    - { name: data, mountPath: /more, subPathExpr: 'logs/$(POD)', mountPropagation: HostToContainer }",
    ));
    assert_eq!(container.image_pull_policy(), runtime::ImagePullPolicy::Never);
    assert_eq!(container.command, ["/bin/app", "$(MODE)"]);
    assert_eq!(container.args, ["--port=80"]);
    assert_eq!(container.working_directory, "/srv");
    assert!(container.tty && container.stdin && container.stdin_once);
    assert_eq!(container.termination_message_path, "/tmp/end");
    assert_eq!(
        container.termination_message_policy(),
        runtime::TerminationMessagePolicy::FallbackToLogsOnError
    );
    let port = &container.ports[0];
    assert_eq!(
        (port.name.as_str(), port.container_port, port.host_port),
        ("web", 80, 8080)
    );
    assert_eq!(port.host_address, "127.0.0.1");
    assert_eq!(container.ports[1].protocol(), runtime::Protocol::Udp);
    let resources = container.resources.unwrap();
    assert_eq!(resources.cpu_limit_millicores, Some(1500));
    assert_eq!(resources.cpu_request_millicores, Some(250));
    assert_eq!(resources.memory_limit_bytes, Some(128 << 20));
    // As the API server fills it in.
    assert_eq!(resources.memory_request_bytes, Some(128 << 20));
    assert_eq!(container.mounts[0].sub_path, "a/$$(B)");
    assert!(container.mounts[0].read_only);
    assert_eq!(container.mounts[1].sub_path, "logs/$(POD)");
    assert_eq!(
        container.mounts[1].propagation(),
        runtime::MountPropagation::HostToContainer
    );
}

#[test]
fn init_containers_and_sidecars_keep_their_order() {
    let pod: Pod = yaml(
        "metadata: { name: web, uid: u }
spec:
  restartPolicy: OnFailure
  activeDeadlineSeconds: 60
  initContainers:
  - { name: first, image: a }
  - { name: beside, image: b, restartPolicy: Always }
  containers:
  - { name: main, image: c }",
    );
    let translated = translated(&pod);
    assert_eq!(translated.namespace, "default");
    assert_eq!(translated.restart_policy(), RestartPolicy::OnFailure);
    assert_eq!(translated.active_deadline_seconds, Some(60));
    let policies: Vec<_> = translated
        .init_containers
        .iter()
        .map(|one| (one.name.as_str(), one.restart_policy()))
        .collect();
    assert_eq!(
        policies,
        [
            ("first", RestartPolicy::Unspecified),
            ("beside", RestartPolicy::Always)
        ]
    );
}

#[test]
fn probes_and_hooks_find_their_ports_and_variables() {
    let container = main(&pod(
        "",
        "    env: [{ name: MODE, value: fast }, { name: NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }]
    ports: [{ name: web, containerPort: 8080 }]
    startupProbe: { exec: { command: [check, $(MODE), $(NAME), $(NONE)] }, failureThreshold: 30, terminationGracePeriodSeconds: 7 }
    readinessProbe: { httpGet: { port: web, scheme: HTTPS, httpHeaders: [{ name: Host, value: example.org }] }, periodSeconds: 1 }
    livenessProbe: { tcpSocket: { port: 8080, host: 192.0.2.7 }, initialDelaySeconds: 4, timeoutSeconds: 2, successThreshold: 1 }
    lifecycle: { postStart: { exec: { command: [hello] } }, preStop: { sleep: { seconds: 3 } } }",
    ));
    use runtime::handler::Action;
    let action = |probe: Option<runtime::Probe>| probe.unwrap().handler.unwrap().action.unwrap();
    let startup = container.startup_probe.clone().unwrap();
    assert_eq!(
        (startup.failure_threshold, startup.termination_grace_seconds),
        (30, Some(7))
    );
    let command = ["check", "fast", "$(NAME)", "$(NONE)"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(
        action(container.startup_probe),
        Action::Exec(runtime::ExecAction { command })
    );
    let get = runtime::HttpGetAction {
        host: String::new(),
        port: 8080,
        path: "/".to_owned(),
        https: true,
        headers: vec![runtime::HttpHeader {
            name: "Host".to_owned(),
            value: "example.org".to_owned(),
        }],
    };
    assert_eq!(action(container.readiness_probe), Action::HttpGet(get));
    let socket = runtime::TcpSocketAction {
        host: "192.0.2.7".to_owned(),
        port: 8080,
    };
    assert_eq!(action(container.liveness_probe), Action::TcpSocket(socket));
    let hook = container.pre_stop.unwrap().action.unwrap();
    assert_eq!(hook, Action::Sleep(runtime::SleepAction { seconds: 3 }));
    assert!(container.post_start.is_some());
}

#[test]
fn a_port_that_has_no_such_name_makes_the_container_wait() {
    let problems = problems(&pod("", "    livenessProbe: { httpGet: { port: web } }"));
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].kind,
        Kind::Config {
            container: "main".to_owned()
        }
    );
    assert_eq!(problems[0].field, "spec.containers[0].livenessProbe.httpGet.port");
    assert_eq!(
        problems[0].message,
        "couldn't find port \"web\" in container \"main\""
    );
}

#[test]
fn pull_secrets_become_credentials_and_a_missing_one_a_warning() {
    let secret = |json: &str| {
        let mut objects = objects();
        let text = serde_json::json!({ "stringData": { ".dockerconfigjson": json } });
        let mut secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(text).unwrap();
        let data = secret.string_data.take().unwrap();
        secret.data = Some(
            data.into_iter()
                .map(|(key, text)| (key, k8s_openapi::ByteString(text.into_bytes())))
                .collect(),
        );
        objects
            .secrets
            .insert(("shop".to_owned(), "pull".to_owned()), secret);
        objects
    };
    let pod = pod("  imagePullSecrets: [{ name: pull }, { name: absent }]", "");
    let objects = secret(
        r#"{"auths":{"https://reg.example/v2/":{"auth":"YWRhOnNlOmNyZXQ"},"other:5000":{"username":"u","password":"p","email":"e"}}}"#,
    );
    let credentials = to_aurae(&pod, &objects, &node()).unwrap().credentials;
    let found: Vec<_> = credentials
        .iter()
        .map(|one| {
            (
                one.registry.as_str(),
                one.username.as_str(),
                one.password.as_str(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [("reg.example", "ada", "se:cret"), ("other:5000", "u", "p")]
    );
    let warnings = warnings(&pod, &objects, &node());
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].event(), "FailedToRetrieveImagePullSecret");
    assert!(
        warnings[0].message.contains("\"absent\": not found"),
        "{}",
        warnings[0].message
    );
    let broken = super::warnings(&pod, &secret(r#"{"auths":{"a":{"auth":"c2VjcmV0"}}}"#), &node());
    assert!(
        broken[0].message.contains("an auth field has no colon"),
        "{}",
        broken[0].message
    );
}
