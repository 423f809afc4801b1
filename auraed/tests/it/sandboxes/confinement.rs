//! What containers may do and what they are given: profiles, devices, users, limits, and whose cgroup they are in.

use super::{container, sandbox};
use crate::node::Node;
use auraed_api::runtime::v0 as api;
use std::path::{Path, PathBuf};
use tonic::Code;

/// A spec of the Container Device Interface on this machine, for as long as the test runs.
struct CdiSpec {
    path: PathBuf,
    vendor: String,
}

impl CdiSpec {
    fn new(name: &str, edits: &str) -> Self {
        let vendor = format!("aurae-test-{name}-{}.example", std::process::id());
        let directory = Path::new("/var/run/cdi");
        let path = directory.join(format!("{vendor}.json"));
        let text = format!(
            r#"{{"cdiVersion": "1.0.0", "kind": "{vendor}/device", "devices": [{{"name": "one", "containerEdits": {edits}}}]}}"#
        );
        // Another program's tests may take the directory away once it is empty.
        fs_err::create_dir_all(directory).unwrap();
        while let Err(error) = fs_err::write(&path, &text) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
            fs_err::create_dir_all(directory).unwrap();
        }
        Self { path, vendor }
    }

    fn device(&self, name: &str) -> String {
        format!("{}/device={name}", self.vendor)
    }
}

impl Drop for CdiSpec {
    fn drop(&mut self) {
        let _ = fs_err::remove_file(&self.path);
        let _ = fs_err::remove_dir("/var/run/cdi");
    }
}

/// A container of the sandbox `pod` with this security.
fn secured(id: &str, script: &str, security: api::ProcessSecurity) -> api::ContainerSpec {
    api::ContainerSpec {
        security: Some(security),
        ..container(id, "pod", script)
    }
}

fn cgroups(relative: &str) -> Vec<PathBuf> {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4));
    points
        .map(|point| Path::new(point).join(relative.trim_start_matches('/')))
        .filter(|directory| directory.is_dir())
        .collect()
}

#[tokio::test]
async fn a_sandbox_is_in_the_callers_cgroup_whoever_dies() {
    let Some(mut node) = Node::new("a_sandbox_is_in_the_callers_cgroup_whoever_dies").await else {
        return;
    };
    let top = format!("/aurae-test-parent-{}", std::process::id());
    let spec = |id: &str| api::SandboxSpec {
        cgroup_parent: format!("{top}/burstable/pod-{id}"),
        ..sandbox(id)
    };
    node.make(spec("pod")).await.unwrap();
    node.make(spec("other")).await.unwrap();
    let mut limited = container("main", "pod", "exec sleep 1000");
    limited.resources = Some(api::LinuxResources {
        cpu_shares: Some(102),
        memory_bytes: Some(64 << 20),
        memory_swap_bytes: Some(64 << 20),
        huge_pages: vec![api::HugePageLimit {
            page_size: "2MB".into(),
            bytes: 0,
        }],
        ..api::LinuxResources::default()
    });
    node.launch(limited).await;
    let leaf = format!("{top}/burstable/pod-pod/pod/main-0");
    assert!(!cgroups(&leaf).is_empty());
    node.machine.kill().await;
    node.restart().await;
    let limits = api::LinuxResources {
        memory_bytes: Some(96 << 20),
        memory_swap_bytes: Some(96 << 20),
        ..api::LinuxResources::default()
    };
    let request = api::UpdateContainerRequest {
        id: "main".into(),
        resources: Some(limits),
    };
    node.client.containers().update_container(request).await.unwrap();
    let files = ["memory.max", "memory.limit_in_bytes"];
    let memory = cgroups(&leaf)
        .iter()
        .flat_map(|directory| files.map(|file| directory.join(file)))
        .find_map(|file| fs_err::read_to_string(file).ok());
    assert_eq!(memory.unwrap().trim(), "100663296");
    node.discard("pod").await;
    assert!(cgroups(&format!("{top}/burstable/pod-pod")).is_empty());
    node.discard("other").await;
    assert!(cgroups(&top).is_empty());
    node.finish().await;
}

#[tokio::test]
async fn a_profile_on_the_node_is_the_containers_filter() {
    let Some(node) = Node::new("a_profile_on_the_node_is_the_containers_filter").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    let profile = node.machine.path("profile.json");
    fs_err::write(
        &profile,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#,
    )
    .unwrap();
    let localhost = |path: &Path| api::ProcessSecurity {
        seccomp: Some(api::SecurityProfile {
            kind: api::SecurityProfileKind::Localhost.into(),
            localhost: path.display().to_string(),
        }),
        ..api::ProcessSecurity::default()
    };
    let script = "mkdir /x 2>/dev/null || echo refused";
    let lines = node.output(secured("main", script, localhost(&profile))).await;
    assert_eq!(lines, ["refused"]);
    fs_err::write(&profile, r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#).unwrap();
    let missing = node.machine.path("none.json");
    for (path, told) in [(&profile, "SCMP_ACT_NOTIFY"), (&missing, "none.json")] {
        let refused = node
            .make_container(secured("bad", script, localhost(path)))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(told), "{refused:?}");
    }
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn the_user_of_a_container_is_told() {
    let Some(node) = Node::new("the_user_of_a_container_is_told").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    let security = |strict| api::ProcessSecurity {
        run_as_user: Some(1000),
        run_as_group: Some(3000),
        supplemental_groups: vec![60_000, 4000],
        strict_supplemental_groups: strict,
        ..api::ProcessSecurity::default()
    };
    for (id, strict) in [("merged", false), ("strict", true)] {
        let lines = node
            .output(secured(id, "busybox id -u; busybox id -G", security(strict)))
            .await;
        assert_eq!(lines, ["1000", "3000 4000 60000"]);
        let user = node.get_container(id).await.unwrap().user.unwrap();
        assert_eq!((user.uid, user.gid), (1000, 3000));
        assert_eq!(user.supplemental_groups, [3000, 4000, 60_000]);
    }
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn devices_are_given_by_path_and_by_name() {
    let Some(node) = Node::new("devices_are_given_by_path_and_by_name").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    let edits = r#"{"env": ["VENDOR=here"], "deviceNodes": [{"path": "/dev/vendor", "hostPath": "/dev/null"}],
        "mounts": [{"hostPath": "/usr", "containerPath": "/vendor", "options": ["ro", "nosuid", "nodev", "bind"]}],
        "additionalGids": [4242]}"#;
    let vendor = CdiSpec::new("given", edits);
    let script = "echo $VENDOR; echo x > /dev/vendor && echo device; echo x > /dev/path && echo path; \
                  test -d /vendor/bin && echo mount; busybox id -G; { busybox touch /vendor/x; } 2>/dev/null || echo read-only";
    let mut spec = container("main", "pod", script);
    spec.cdi_devices = vec![vendor.device("one")];
    spec.devices = vec![api::ContainerDevice {
        host_path: "/dev/zero".into(),
        container_path: "/dev/path".into(),
        permissions: "rw".into(),
    }];
    assert_eq!(
        node.output(spec).await,
        ["here", "device", "path", "mount", "0 4242", "read-only"]
    );
    let hook = CdiSpec::new(
        "hook",
        r#"{"hooks": [{"hookName": "createContainer", "path": "/bin/vendor-hook"}]}"#,
    );
    for (device, told) in [
        (vendor.device("two"), "unresolvable CDI devices"),
        (hook.device("one"), "the createContainer hook /bin/vendor-hook"),
    ] {
        let mut spec = container("bad", "pod", "true");
        spec.cdi_devices = vec![device.clone()];
        let refused = node.make_container(spec).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let message = refused.message();
        assert!(message.contains(told) && message.contains(&device), "{message}");
    }
    node.discard("pod").await;
    node.finish().await;
}

#[tokio::test]
async fn what_this_node_cannot_confine_is_refused_by_name() {
    let Some(node) = Node::new("what_this_node_cannot_confine_is_refused_by_name").await else {
        return;
    };
    node.make(sandbox("pod")).await.unwrap();
    let selinux = api::ProcessSecurity {
        selinux: Some(api::SelinuxOptions {
            level: "s0:c1".into(),
            ..api::SelinuxOptions::default()
        }),
        ..api::ProcessSecurity::default()
    };
    let refused = node
        .make_container(secured("selinux", "true", selinux))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("SELinux"), "{refused:?}");
    let enabled = fs_err::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !enabled.is_ok_and(|text| text.starts_with('Y')) {
        let apparmor = api::ProcessSecurity {
            apparmor: Some(api::SecurityProfile {
                kind: api::SecurityProfileKind::Localhost.into(),
                localhost: "some-profile".into(),
            }),
            ..api::ProcessSecurity::default()
        };
        let refused = node
            .make_container(secured("apparmor", "true", apparmor))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("AppArmor"), "{refused:?}");
    }
    node.discard("pod").await;
    node.finish().await;
}
