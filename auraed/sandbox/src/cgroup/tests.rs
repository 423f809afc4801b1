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

/// A directory that looks like a v2 hierarchy with all controllers, for what neither kernel at hand has: the group of a
/// container and its files.
struct Fixture {
    top: tempfile::TempDir,
    leaf: Group,
}

const FILES: [(&str, &str); 13] = [
    ("cgroup.subtree_control", ""),
    ("cgroup.procs", ""),
    ("cpu.max", "max 100000"),
    ("cpu.weight", "100"),
    ("cpuset.cpus", ""),
    ("cpuset.mems", ""),
    ("hugetlb.1GB.max", "max"),
    ("hugetlb.2MB.max", "max"),
    ("hugetlb.2MB.rsvd.max", "max"),
    ("memory.max", "max"),
    ("memory.swap.max", "max"),
    ("pids.max", "max"),
    ("io.max", ""),
];

impl Fixture {
    fn new(controllers: &str) -> Self {
        let top = tempfile::tempdir().unwrap();
        let mut directory = top.path().to_owned();
        fs::write(directory.join("cgroup.controllers"), controllers).unwrap();
        let fill = |directory: &Path| {
            fs::create_dir_all(directory).unwrap();
            for (file, content) in FILES {
                fs::write(directory.join(file), content).unwrap();
            }
        };
        fill(&directory);
        directory.push("aurae");
        fill(&directory);
        for class in [
            "guaranteed",
            "burstable",
            "besteffort",
            "burstable/pod",
            "burstable/pod/main-0",
        ] {
            fill(&directory.join(class));
        }
        let mounts = Mounts {
            v2: Some(top.path().to_owned()),
            v1: Vec::new(),
        };
        let (tree, _) = Tree::open(mounts, "aurae").unwrap();
        let pod = tree.pod(Qos::Burstable, "pod").unwrap();
        Self {
            top,
            leaf: pod.child("main-0").unwrap(),
        }
    }

    /// A file's content begins with what was written over the old.
    fn value(&self, file: &str) -> String {
        read(&self.top.path().join(self.leaf.relative_path()).join(file)).unwrap()
    }

    fn set(&self, change: impl FnOnce(&mut Limits)) -> Result<(), Error> {
        let mut limits = Limits {
            strict: true,
            ..Limits::default()
        };
        change(&mut limits);
        self.leaf.set(&limits)
    }
}

#[test]
fn limits_of_all_controllers_on_v2() {
    let fixture = Fixture::new("cpuset cpu io memory hugetlb pids");
    assert!(
        read(&fixture.top.path().join("cgroup.subtree_control"))
            .unwrap()
            .contains("+cpuset")
    );
    fixture
        .set(|limits| {
            limits.cpuset_cpus = Some("0-2,7".to_owned());
            limits.cpuset_mems = Some(String::new());
            limits.huge_pages = vec![
                ("2MB".to_owned(), 4 << 20),
                ("1GB".to_owned(), 0),
                ("64KB".to_owned(), 0),
            ];
        })
        .unwrap();
    assert_eq!(fixture.value("cpuset.cpus"), "0-2,7");
    assert_eq!(fixture.value("cpuset.mems"), "");
    assert!(fixture.value("hugetlb.2MB.max").starts_with("4194304"));
    assert!(fixture.value("hugetlb.2MB.rsvd.max").starts_with("4194304"));
    assert!(fixture.value("hugetlb.1GB.max").starts_with('0'));
    fixture.set(|limits| limits.cpu_period_us = Some(50_000)).unwrap();
    assert!(fixture.value("cpu.max").starts_with("max 50000"));
    fixture
        .set(|limits| {
            limits.memory_bytes = Some(100);
            limits.memory_swap_bytes = Some(150);
        })
        .unwrap();
    assert!(fixture.value("memory.swap.max").starts_with("50"));
    fixture.set(|limits| limits.memory_swap_bytes = Some(-1)).unwrap();
    assert!(fixture.value("memory.swap.max").starts_with("max"));
    fixture
        .set(|limits| limits.unified = vec![("io.max".to_owned(), "8:0 rbps=1\n8:16 rbps=2\n".to_owned())])
        .unwrap();
    assert_eq!(
        fixture.value("io.max"),
        "8:0 rbps=18:16 rbps=2",
        "a line at a time"
    );
}

#[test]
fn a_limit_that_nobody_keeps_is_an_error_for_who_insists() {
    let fixture = Fixture::new("");
    let missing = |change: fn(&mut Limits)| match fixture.set(change) {
        Err(Error::Missing { controller, .. }) => Some(controller),
        Ok(()) => None,
        Err(error) => panic!("{error:?}"),
    };
    for (change, controller) in [
        (
            (|limits| limits.cpu_shares = Some(2)) as fn(&mut Limits),
            Some(Controller::Cpu),
        ),
        (|limits| limits.cpu_quota_us = Some(5000), Some(Controller::Cpu)),
        (|limits| limits.memory_bytes = Some(5), Some(Controller::Memory)),
        (|limits| limits.pids = Some(5), Some(Controller::Pids)),
        (
            |limits| limits.cpuset_cpus = Some("0".to_owned()),
            Some(Controller::Cpuset),
        ),
        (
            |limits| limits.huge_pages = vec![("2MB".to_owned(), 5)],
            Some(Controller::HugePages),
        ),
        (|limits| limits.memory_bytes = Some(0), None),
        (|limits| limits.cpu_quota_us = Some(-1), None),
        (|limits| limits.pids = Some(0), None),
        (|limits| limits.huge_pages = vec![("2MB".to_owned(), 0)], None),
    ] {
        assert_eq!(missing(change), controller);
    }
    let lenient = Limits {
        cpu_shares: Some(2),
        memory_bytes: Some(5),
        pids: Some(5),
        ..Limits::default()
    };
    fixture.leaf.set(&lenient).unwrap();
}
