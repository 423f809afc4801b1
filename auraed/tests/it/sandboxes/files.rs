//! What a container finds: its environment, its files, its user, its neighbours.

use super::{container, sandbox};
use crate::node::Node;
use auraed_api::runtime::v0 as api;

impl Node {
    /// Runs a container to its end; what it wrote.
    pub(super) async fn output(&self, mut spec: api::ContainerSpec) -> Vec<String> {
        let name = format!("{}.log", spec.id);
        let id = spec.id.clone();
        spec.log_path = self.log_path(&name).display().to_string();
        self.launch(spec).await;
        let status = self.until_exited(&id).await;
        let lines = self.logged(&name);
        assert_eq!(status.exit_code, 0, "{status:?}: {lines:?}");
        lines
    }
}

#[tokio::test]
async fn a_container_finds_its_environment_and_files() {
    let Some(node) = Node::new("a_container_finds_its_environment_and_files").await else {
        return;
    };
    let spec = api::SandboxSpec {
        hostname: "box".into(),
        log_directory: node.log_path("made").display().to_string(),
        dns: Some(api::SandboxDns {
            servers: vec!["192.0.2.53".into()],
            searches: vec!["example.test".into()],
            options: vec!["ndots:2".into()],
        }),
        sysctls: [("net.ipv4.ip_unprivileged_port_start".to_owned(), "7".to_owned())].into(),
        ..sandbox("pod")
    };
    let made = node.make(spec).await.unwrap();
    assert!(node.log_path("made").is_dir());
    let mut spec = container(
        "env",
        "pod",
        "echo $FROM_IMAGE $OWN $HOSTNAME; busybox hostname; cat /etc/hostname; pwd; busybox id -u; busybox id -G; \
         cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
    );
    spec.working_directory = "/tmp".into();
    for value in ["first", "second"] {
        spec.env.push(api::KeyValue {
            name: "OWN".into(),
            value: value.into(),
        });
    }
    spec.security = Some(api::ProcessSecurity {
        run_as_user: Some(12),
        run_as_group: Some(34),
        supplemental_groups: vec![56],
        ..api::ProcessSecurity::default()
    });
    assert_eq!(
        node.output(spec).await,
        ["yes second box", "box", "box", "/tmp", "12", "34 56", "7"]
    );
    let user = node.get_container("env").await.unwrap().user.unwrap();
    assert_eq!((user.uid, user.gid), (12, 34));
    assert_eq!(
        node.output(container("resolv", "pod", "cat /etc/resolv.conf"))
            .await,
        ["search example.test", "nameserver 192.0.2.53", "options ndots:2"]
    );
    let hosts = node.output(container("hosts", "pod", "cat /etc/hosts")).await;
    let own = format!("{}\tbox", made.addresses[0]);
    assert!(
        hosts.contains(&"127.0.0.1\tlocalhost".to_owned()) && hosts.contains(&own),
        "{hosts:?}"
    );
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn mounts_are_as_the_caller_says() {
    let Some(node) = Node::new("mounts_are_as_the_caller_says").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    let outer = node.machine.path("outer");
    let hosts = node.machine.path("hosts");
    fs_err::create_dir_all(&outer).unwrap();
    fs_err::write(&hosts, "the caller's\n").unwrap();
    let mount = |container_path: &str, host_path: &std::path::Path, read_only| api::ContainerMount {
        container_path: container_path.into(),
        host_path: host_path.display().to_string(),
        read_only,
        ..api::ContainerMount::default()
    };
    let mut spec = container(
        "main",
        "pod",
        "cat /etc/hosts; echo data > /outer/file; { echo more > /outer/inner/file; } 2>/dev/null || echo read-only; cat /image/bin/sh > /dev/null && echo image",
    );
    // The inner one is named first, and is mounted last.
    spec.mounts = vec![
        mount("/outer/inner", &node.machine.path("made/anew"), true),
        mount("/outer", &outer, false),
        mount("/etc/hosts", &hosts, false),
        api::ContainerMount {
            container_path: "/image".into(),
            image: crate::archive::BUSYBOX.into(),
            read_only: true,
            ..api::ContainerMount::default()
        },
    ];
    let lines = node.output(spec).await;
    assert_eq!(lines.first().map(String::as_str), Some("the caller's"));
    assert_eq!(&lines[lines.len() - 2..], ["read-only", "image"], "{lines:?}");
    assert_eq!(fs_err::read_to_string(outer.join("file")).unwrap(), "data\n");
    assert!(node.machine.path("made/anew").is_dir());
    // What cannot be mounted is told before the start.
    let mut spec = container("refused", "pod", "true");
    spec.mounts = vec![api::ContainerMount {
        container_path: "/image".into(),
        image: crate::archive::BUSYBOX.into(),
        image_sub_path: "nowhere".into(),
        read_only: true,
        ..api::ContainerMount::default()
    }];
    let status = node.make_container(spec).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn containers_of_a_sandbox_share_what_it_says() {
    let Some(node) = Node::new("containers_of_a_sandbox_share_what_it_says").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    node.launch(container(
        "one",
        "pod",
        "echo shared > /dev/shm/file; exec sleep 4321",
    ))
    .await;
    let script = "until [ -e /dev/shm/file ]; do sleep 0.02; done; cat /dev/shm/file; busybox ps | busybox grep -c '[s]leep 4321'; echo $$";
    let lines = node.output(container("two", "pod", script)).await;
    assert_eq!(lines[..2], ["shared", "1"]);
    assert_ne!(lines[2], "1");
    let mut own = container("three", "pod", "echo $$");
    own.security = Some(api::ProcessSecurity {
        pid: api::NamespaceMode::Container.into(),
        ..api::ProcessSecurity::default()
    });
    assert_eq!(node.output(own.clone()).await, ["1"]);
    own.id = "four".into();
    own.name = "four".into();
    own.command[2] = "busybox ps | busybox grep -c '[s]leep 4321'".into();
    own.security = Some(api::ProcessSecurity {
        pid: api::NamespaceMode::Target.into(),
        pid_target: "one".into(),
        ..api::ProcessSecurity::default()
    });
    assert_eq!(node.output(own).await, ["1"]);

    // On the node itself, with its names and its processes.
    let on_node = api::SandboxSpec {
        network: api::NamespaceMode::Node.into(),
        pid: api::NamespaceMode::Node.into(),
        ipc: api::NamespaceMode::Node.into(),
        ..sandbox("host")
    };
    let made = node.make(on_node).await.unwrap();
    assert_eq!(made.addresses, [""; 0]);
    let script = "busybox hostname; busybox readlink /proc/self/ns/pid";
    let mut spec = container("five", "host", script);
    spec.security = Some(api::ProcessSecurity {
        pid: api::NamespaceMode::Node.into(),
        ..api::ProcessSecurity::default()
    });
    let lines = node.output(spec).await;
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_eq!(lines[0], name);
    let own = fs_err::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(lines[1], own.display().to_string());
    node.discard("pod").await;
    node.discard("host").await;
    node.finish().await;
}

#[tokio::test]
async fn root_of_a_user_namespace_is_nobody_on_the_node() {
    let Some(node) = Node::new("root_of_a_user_namespace_is_nobody_on_the_node").await else {
        return;
    };
    let range = api::IdMapping {
        host_id: 1_000_000,
        container_id: 0,
        length: 65_536,
    };
    let users = api::UserNamespace {
        uids: vec![range],
        gids: vec![range],
    };
    let spec = api::SandboxSpec {
        user_namespace: Some(users.clone()),
        ..sandbox("pod")
    };
    node.make(spec).await.unwrap();
    let script = "cat /proc/self/uid_map | busybox tr -s ' '; busybox id -u; busybox stat -c %u /etc/hosts; \
                  echo x > /file && busybox stat -c %u /file";
    let mut spec = container("main", "pod", script);
    spec.security = Some(api::ProcessSecurity {
        user_namespace: Some(users),
        ..api::ProcessSecurity::default()
    });
    assert_eq!(
        node.output(spec.clone()).await,
        [" 0 1000000 65536", "0", "0", "0"]
    );
    let file = node
        .machine
        .path("state/sandboxes/pod/containers/main/upper/file");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(file).unwrap());
    assert_eq!(owner, 1_000_000);
    // Another user namespace than the sandbox's is not to be had.
    spec.id = "other".into();
    spec.name = "other".into();
    if let Some(users) = spec
        .security
        .as_mut()
        .and_then(|security| security.user_namespace.as_mut())
    {
        users.uids[0].length = 1;
    }
    assert!(node.make_container(spec).await.is_err());
    node.discard("pod").await;
    node.finish().await;
}
