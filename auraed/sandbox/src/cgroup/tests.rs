//! What the machine at hand does not show by itself: v1 without v2 beside it, and a v2 top that has processes.

use std::process::{Child, Command};

use fs_err as fs;

use super::files::read;
use super::mounts::Mounts;
use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn sleeper() -> Child {
    Command::new("sleep").arg("1000").spawn().unwrap()
}

#[test]
fn no_hierarchy_is_an_error_that_says_what_to_do() {
    let error = Tree::open(Mounts::default(), "aurae").unwrap_err();
    assert!(error.to_string().contains("mount -t cgroup2"), "{error}");
}

#[test]
fn an_unwritable_hierarchy_is_an_error_that_says_what_to_do() {
    let mounts = Mounts {
        v2: Some(PathBuf::from("/proc/self/fd")),
        v1: Vec::new(),
    };
    let error = Tree::open(mounts, "aurae").unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
}

#[test]
fn missing_controllers_are_warnings() {
    let top = tempfile::tempdir().unwrap();
    let mounts = Mounts {
        v2: Some(top.path().to_owned()),
        v1: Vec::new(),
    };
    let (tree, warnings) = Tree::open(mounts, "a/b").unwrap();
    assert_eq!(tree.version(), Version::V2);
    assert!(top.path().join("a/b/burstable").is_dir());
    let missing: Vec<_> = warnings
        .iter()
        .filter_map(|warning| match warning {
            Warning::Missing { controller, .. } => Some(*controller),
            Warning::Moved { .. } => None,
        })
        .collect();
    for controller in [Controller::Cpu, Controller::Memory, Controller::Pids] {
        assert!(missing.contains(&controller), "{missing:?}");
    }
    let limits = Limits {
        cpu_shares: Some(5),
        memory_bytes: Some(5),
        pids: Some(5),
        ..Limits::default()
    };
    let pod = tree.create_pod(Qos::Guaranteed, "pod", &limits).unwrap();
    assert_eq!(pod.stats(), Stats::default());
}

#[test]
fn v1_alone_kills_one_by_one() {
    let text = read(Path::new("/proc/self/mountinfo")).unwrap();
    let text: Vec<_> = text
        .lines()
        .filter(|line| !line.contains(" - cgroup2 "))
        .collect();
    let mounts = Mounts::parse(&text.join("\n"), "");
    if mounts.v1.is_empty() {
        println!("skipped: no cgroup v1 on this machine");
        return;
    }
    let (tree, _) = Tree::open(mounts, &format!("aurae-v1-{}", std::process::id())).unwrap();
    assert_eq!(tree.version(), Version::V1);
    let pod = tree
        .create_pod(Qos::BestEffort, "pod", &Limits::default())
        .unwrap();
    let leaf = pod.create_child("main-0", &Limits::default()).unwrap();
    let membership = leaf.membership().unwrap();
    assert!(membership.v2.is_none());
    let mut children = [sleeper(), sleeper()];
    for (file, child) in membership
        .v1
        .iter()
        .flat_map(|file| children.iter().map(move |child| (file, child)))
    {
        fs::write(file, child.id().to_string()).unwrap();
    }
    assert_eq!(leaf.processes().unwrap().len(), 2);
    runtime().block_on(tree.remove()).unwrap();
    assert!(!tree.root().exists());
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), None);
    }
}

#[test]
fn processes_at_the_top_are_moved_aside() {
    let unified = Path::new("/sys/fs/cgroup");
    let controllers = read(&unified.join("cgroup.controllers")).unwrap_or_default();
    if !controllers.contains("memory") {
        println!("skipped: needs cgroup v2 with controllers");
        return;
    }
    let top = unified.join(format!("aurae-top-{}", std::process::id()));
    files::write(&unified.join("cgroup.subtree_control"), "+cpu +memory +pids").unwrap();
    fs::create_dir(&top).unwrap();
    let mut child = sleeper();
    files::write(&top.join("cgroup.procs"), &child.id().to_string()).unwrap();
    let (tree, warnings) = Tree::open(
        Mounts {
            v2: Some(top.clone()),
            v1: Vec::new(),
        },
        "aurae",
    )
    .unwrap();
    assert!(
        warnings
            .iter()
            .any(|warning| matches!(warning, Warning::Moved { .. })),
        "{warnings:?}"
    );
    assert_eq!(
        read(&top.join("init/cgroup.procs")).unwrap().trim(),
        child.id().to_string()
    );
    let limits = Limits {
        memory_bytes: Some(1 << 20),
        ..Limits::default()
    };
    let pod = tree.create_pod(Qos::BestEffort, "pod", &limits).unwrap();
    assert_eq!(
        read(&top.join(pod.relative_path()).join("memory.max"))
            .unwrap()
            .trim(),
        "1048576"
    );
    runtime().block_on(tree.remove()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_dir(top.join("init")).unwrap();
    fs::remove_dir(top).unwrap();
}
