use std::path::Path;

use auraed_sandbox::{ContainerSpec, Propagation};

use super::*;

fn container() -> ContainerSpec {
    ContainerSpec {
        name: "main".to_owned(),
        attempt: 0,
        id: "id".to_owned(),
        rootfs: auraed_sandbox::Rootfs::default(),
        mounts: vec![auraed_sandbox::Mount {
            target: "/opt/lib/".to_owned(),
            ..auraed_sandbox::Mount::default()
        }],
        args: Vec::new(),
        env: vec!["A=image".to_owned()],
        cwd: String::new(),
        user: auraed_sandbox::User::default(),
        capabilities: auraed_sandbox::Capabilities::NONE,
        ambient: auraed_sandbox::Capabilities::NONE,
        no_new_privileges: false,
        seccomp: auraed_sandbox::Seccomp::Default,
        apparmor: None,
        privileged: false,
        devices: Vec::new(),
        masked_paths: Vec::new(),
        read_only_paths: Vec::new(),
        tty: false,
        stdin: false,
        stdin_once: false,
        pid: auraed_sandbox::PidMode::Sandbox,
        log_path: PathBuf::new(),
        exit_path: PathBuf::new(),
        cgroup: auraed_sandbox::cgroup::Limits::default(),
        oom_score_adj: 0,
    }
}

struct Node {
    directory: tempfile::TempDir,
    directories: Vec<PathBuf>,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let directories = ["low", "high", "missing"].map(|name| directory.path().join(name));
        for made in &directories[..2] {
            fs_err::create_dir(made).unwrap();
        }
        Self {
            directory,
            directories: directories.into(),
        }
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        fs_err::write(self.directory.path().join(path), text).unwrap();
        self
    }

    fn resolve(&self, names: &[&str]) -> Result<Edits, CdiError> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        resolve(&self.directories, &names)
    }

    fn error(&self, name: &str) -> String {
        self.resolve(&[name]).unwrap_err().to_string()
    }
}

fn spec(kind: &str, device: &str, edits: &str) -> String {
    format!(
        r#"{{"cdiVersion": "1.0.0", "kind": "{kind}", "devices": [{{"name": "{device}", "containerEdits": {edits}}}]}}"#
    )
}

#[test]
fn edits_of_files_and_devices_are_given_to_the_container() {
    let node = Node::new();
    node.write(
        "low/vendor.yaml",
        r"
cdiVersion: 1.1.0
kind: vendor.com/device
annotations: {who: vendor}
devices:
- name: one
  containerEdits:
    env: [ONE=1]
    deviceNodes:
    - {path: /dev/vendor0, hostPath: /dev/null, permissions: rw, fileMode: 0640, uid: 5}
    - {path: /dev/vendor1, type: b, major: 7, minor: 3}
    additionalGids: [44, 0]
- name: two
  containerEdits:
    env: [TWO=2]
    mounts:
    - {hostPath: /etc, containerPath: /opt/lib, options: [ro, nosuid, nodev, bind]}
containerEdits:
  env: [A=vendor]
  mounts:
  - {hostPath: /tmp, containerPath: /opt/lib/deeper/still, options: [rbind, rslave]}
",
    );
    let edits = node
        .resolve(&[
            "vendor.com/device=one",
            "vendor.com/device=two",
            "vendor.com/device=one",
        ])
        .unwrap();
    let mut spec = container();
    edits.apply(&mut spec);
    assert_eq!(spec.env, ["A=image", "A=vendor", "ONE=1", "TWO=2"]);
    assert_eq!(spec.user.additional_groups, [44]);
    let [null, block] = &spec.devices[..] else {
        panic!("{:?}", spec.devices)
    };
    assert_eq!(null.host_path, Path::new("/dev/null"));
    assert_eq!(
        (null.permissions.as_str(), null.mode, null.owner),
        ("rw", Some(0o640), Some((5, 0)))
    );
    assert_eq!((block.permissions.as_str(), block.mode), ("rwm", Some(0o666)));
    let number = block.number.unwrap();
    assert_eq!((number.block, number.major, number.minor), (true, 7, 3));
    let [library, deeper] = &spec.mounts[..] else {
        panic!("{:?}", spec.mounts)
    };
    assert_eq!(
        (library.source.as_path(), library.read_only),
        (Path::new("/etc"), true)
    );
    assert!(library.restrictions.no_set_user_id && library.restrictions.no_devices);
    assert!(!library.restrictions.no_execution);
    assert_eq!(deeper.propagation, Propagation::HostToContainer);
}

#[test]
fn the_later_directory_goes_before_the_earlier() {
    let node = Node::new();
    node.write("low/a.json", &spec("v.com/d", "x", r#"{"env": ["FROM=low"]}"#))
        .write("high/a.json", &spec("v.com/d", "x", r#"{"env": ["FROM=high"]}"#));
    let mut container = container();
    node.resolve(&["v.com/d=x"]).unwrap().apply(&mut container);
    assert_eq!(container.env.last().unwrap(), "FROM=high");
}

#[test]
fn two_files_of_one_directory_are_a_conflict() {
    let node = Node::new();
    node.write("high/a.json", &spec("v.com/d", "x", "{}"))
        .write("high/b.json", &spec("v.com/d", "x", "{}"))
        .write("low/c.json", &spec("v.com/d", "x", "{}"));
    let text = node.error("v.com/d=x");
    assert!(
        text.starts_with("unresolvable CDI devices v.com/d=x (conflicting device v.com/d=x of"),
        "{text}"
    );
}

#[test]
fn unknown_devices_are_named_all_together() {
    let node = Node::new();
    node.write("low/a.json", &spec("v.com/d", "x", "{}"));
    let error = node
        .resolve(&["v.com/d=x", "v.com/d=y", "w.com/d=x", "nonsense"])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "unresolvable CDI devices v.com/d=y, w.com/d=x, nonsense"
    );
    assert!(node.resolve(&[]).is_ok());
    let many: Vec<String> = (0..1000).map(|number| format!("v.com/d=x{number}")).collect();
    assert!(matches!(
        resolve(&node.directories, &many),
        Err(CdiError::TooMany)
    ));
}

#[test]
fn a_broken_file_tells_nothing_but_that_it_is_broken() {
    for (text, told) in [
        ("{", "EOF"),
        (
            r#"{"cdiVersion": "9.0.0", "kind": "v.com/d", "devices": [{"name": "x"}]}"#,
            "9.0.0",
        ),
        (
            r#"{"cdiVersion": "1.0.0", "kind": "d", "devices": [{"name": "x"}]}"#,
            "kind",
        ),
        (r#"{"cdiVersion": "1.0.0", "kind": "v.com/d"}"#, "no devices"),
        (
            r#"{"cdiVersion": "1.0.0", "kind": "v.com/d", "devices": [{"name": "x"}, {"name": "x"}]}"#,
            "twice",
        ),
        (
            r#"{"cdiVersion": "1.0.0", "kind": "v.com/d", "devices": [{"name": "x", "more": 1}]}"#,
            "more",
        ),
        (
            r#"{"cdiVersion": "1.0.0", "kind": "v.com/d", "devices": [{"name": "-x"}]}"#,
            "-x",
        ),
    ] {
        let node = Node::new();
        node.write("low/a.json", text)
            .write("high/b.json", &spec("w.com/d", "x", "{}"));
        let error = node.error("v.com/d=x");
        assert!(error.contains("a.json") && error.contains(told), "{error}");
        assert!(node.resolve(&["w.com/d=x"]).is_ok());
    }
}

#[test]
fn what_would_run_on_the_node_is_refused_by_name() {
    let hook =
        r#"{"hooks": [{"hookName": "createContainer", "path": "/usr/bin/vendor-hook", "args": ["x"]}]}"#;
    for (edits, told) in [
        (hook, "the createContainer hook /usr/bin/vendor-hook"),
        (r#"{"intelRdt": {"closID": "x"}}"#, "intelRdt"),
        (
            r#"{"netDevices": [{"hostInterfaceName": "eth1", "name": "net1"}]}"#,
            "network devices",
        ),
    ] {
        let node = Node::new();
        node.write("low/a.json", &spec("v.com/d", "x", edits));
        let error = node.error("v.com/d=x");
        assert_eq!(
            error,
            format!("CDI device v.com/d=x needs {told}, which is not supported")
        );
    }
}

#[test]
fn edits_that_cannot_be_done_are_the_devices_fault() {
    for (edits, told) in [
        (r#"{"env": ["=x"]}"#, "NAME=value"),
        (r#"{"env": ["x"]}"#, "NAME=value"),
        (
            r#"{"deviceNodes": [{"path": "/dev/no-such-device"}]}"#,
            "/dev/no-such-device",
        ),
        (
            r#"{"deviceNodes": [{"path": "/dev/null", "type": "b"}]}"#,
            "not such a device",
        ),
        (
            r#"{"deviceNodes": [{"path": "/dev/x", "type": "p"}]}"#,
            "type \"p\"",
        ),
        (
            r#"{"mounts": [{"hostPath": "/no/such/place", "containerPath": "/x"}]}"#,
            "/no/such/place",
        ),
        (
            r#"{"mounts": [{"hostPath": "/etc", "containerPath": "x"}]}"#,
            "not absolute",
        ),
        (
            r#"{"mounts": [{"hostPath": "/etc", "containerPath": "/x/../y"}]}"#,
            "not absolute",
        ),
        (
            r#"{"mounts": [{"hostPath": "/etc", "containerPath": "/x", "type": "tmpfs"}]}"#,
            "not bind",
        ),
        (
            r#"{"mounts": [{"hostPath": "/etc", "containerPath": "/x", "options": ["size=1"]}]}"#,
            "size=1",
        ),
    ] {
        let node = Node::new();
        node.write("low/a.json", &spec("v.com/d", "x", edits));
        let error = node.error("v.com/d=x");
        assert!(
            error.starts_with("CDI device v.com/d=x: ") && error.contains(told),
            "{error}"
        );
    }
}

#[test]
fn only_regular_files_of_some_length_are_read() {
    let node = Node::new();
    let pipe = node.directory.path().join("low/pipe.json");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    node.write("low/long.yaml", &" ".repeat(2 << 20))
        .write("low/readme.txt", "{")
        .write("high/a.json", &spec("v.com/d", "x", "{}"));
    assert!(node.resolve(&["v.com/d=x"]).is_ok());
    let error = node.error("v.com/d=y");
    assert!(
        error.contains("regular") && error.contains("longer") && !error.contains("readme"),
        "{error}"
    );
}
