//! Cgroups of the running kernel, whatever its version: pods and leaves with limits, members, kill and removal.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "what was skipped, and figures")]

use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use auraed_sandbox::cgroup::{Devices, Group, Limits, Qos, Tree, Version};

/// A tree that is gone after the test, however that ends.
struct Scratch(Tree);

impl std::ops::Deref for Scratch {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        runtime().block_on(self.0.remove()).unwrap();
    }
}

/// A tree of the test's own, whose root name no other test and no other run has.
fn tree() -> Scratch {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let (tree, warnings) = Tree::detect(&format!("aurae-test-tree-{}-{number}", std::process::id())).unwrap();
    for warning in warnings {
        println!("warning: {warning}");
    }
    Scratch(tree)
}

/// The group's directory that holds `file`, on whichever hierarchy.
fn find(group: &Group, file: &str) -> Option<PathBuf> {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4));
    points
        .map(|point| Path::new(point).join(group.relative_path()).join(file))
        .find(|path| path.exists())
}

fn value(group: &Group, files: &[&str]) -> Option<String> {
    let path = files.iter().find_map(|file| find(group, file))?;
    Some(fs_err::read_to_string(path).unwrap().trim().to_owned())
}

/// Starts a program in the group, by the slow way that needs no clone3: it is moved there before it is executed.
fn spawn(group: &Group, program: &str, arguments: &[&str]) -> Child {
    let membership = group.membership().unwrap();
    let v2 = membership.v2.iter();
    let v2 = v2.map(|directory| {
        PathBuf::from(format!(
            "/proc/{}/fd/{}/cgroup.procs",
            std::process::id(),
            directory.as_raw_fd()
        ))
    });
    let files: Vec<_> = v2.chain(membership.v1).collect();
    let list: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let script = "for f in $FILES; do echo 0 > $f || exit 99; done; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, program])
        .args(arguments)
        .env("FILES", list.join(" "))
        .process_group(0);
    let child = command.spawn().unwrap();
    for file in files {
        let id = child.id().to_string();
        wait_for("a member", || {
            fs_err::read_to_string(&file)
                .unwrap()
                .lines()
                .any(|line| line == id)
        });
    }
    child
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waiting for {what}");
        std::thread::yield_now();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn limits_are_written_and_read_back() {
    let tree = tree();
    let limits = Limits {
        cpu_shares: Some(512),
        cpu_quota_us: Some(50_000),
        memory_bytes: Some(64 << 20),
        pids: Some(100),
        oom_group: true,
        ..Limits::default()
    };
    let pod = tree.create_pod(Qos::Guaranteed, "pod", &limits).unwrap();
    let leaf = pod.create_child("main-0", &limits).unwrap();
    for group in [&pod, &leaf] {
        if let Some(memory) = value(group, &["memory.max", "memory.limit_in_bytes"]) {
            assert_eq!(memory, "67108864");
        }
        if let Some(pids) = value(group, &["pids.max"]) {
            assert_eq!(pids, "100");
        }
        if let Some(quota) = value(group, &["cpu.max"]) {
            assert_eq!(quota, "50000 100000");
        }
        if let Some(quota) = value(group, &["cpu.cfs_quota_us"]) {
            assert_eq!(quota, "50000");
        }
        if let Some(shares) = value(group, &["cpu.shares"]) {
            assert_eq!(shares, "512");
        }
        if let Some(oom) = value(group, &["memory.oom.group"]) {
            assert_eq!(oom, "1");
        }
    }
    if tree.version() == Version::V2 {
        assert_eq!(
            value(&pod, &["cpu.weight"]).unwrap(),
            "20",
            "pods are weighed linearly"
        );
        assert_eq!(
            value(&leaf, &["cpu.weight"]).unwrap(),
            "59",
            "containers by runc's curve"
        );
    }
    pod.set(&Limits {
        memory_bytes: Some(0),
        ..Limits::default()
    })
    .unwrap();
    let other = Limits {
        cpu_quota_us: Some(0),
        memory_bytes: Some(128 << 20),
        pids: Some(0),
        ..Limits::default()
    };
    leaf.set(&other).unwrap();
    assert!(value(&leaf, &["cpu.max"]).is_none_or(|quota| quota == "max 100000"));
    assert!(value(&leaf, &["cpu.cfs_quota_us"]).is_none_or(|quota| quota == "-1"));
    assert!(
        value(&leaf, &["memory.max", "memory.limit_in_bytes"]).is_none_or(|memory| memory == "134217728")
    );
    assert!(value(&leaf, &["pids.max"]).is_none_or(|pids| pids == "max"));
    runtime().block_on(tree.remove()).unwrap();
    assert!(!tree.root().exists());
}

#[test]
fn qos_groups_have_shares() {
    let tree = tree();
    tree.set_qos_shares(Qos::Burstable, 2048).unwrap();
    let pod = tree
        .create_pod(Qos::Burstable, "pod", &Limits::default())
        .unwrap();
    let parent = pod.relative_path().parent().unwrap().to_owned();
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4));
    for point in points {
        if let Ok(shares) = fs_err::read_to_string(Path::new(point).join(&parent).join("cpu.shares")) {
            assert_eq!(shares.trim(), "2048");
        }
        if let Ok(weight) = fs_err::read_to_string(Path::new(point).join(&parent).join("cpu.weight")) {
            assert_eq!(weight.trim(), "79");
        }
    }
    assert_eq!(tree.pods(), [(Qos::Burstable, "pod".to_owned())]);
    runtime().block_on(tree.remove()).unwrap();
    assert_eq!(tree.pods(), []);
}

#[test]
fn kill_ends_every_process_and_remove_leaves_nothing() {
    let tree = tree();
    let pod = tree
        .create_pod(Qos::BestEffort, "pod", &Limits::default())
        .unwrap();
    let leaf = pod.create_child("main-0", &Limits::default()).unwrap();
    // A shell whose children fork on and on, and ignore what can be ignored.
    let forker = "trap '' TERM INT HUP; (while :; do sleep 100 & wait $!; done) & while :; do sleep 100 & wait $!; done";
    let mut child = spawn(&leaf, "sh", &["-c", forker]);
    wait_for("forks", || leaf.processes().unwrap().len() >= 4);
    pod.kill().unwrap();
    let reaper = std::thread::spawn(move || child.wait().unwrap());
    runtime().block_on(pod.remove()).unwrap();
    assert!(!pod.exists() && !leaf.exists());
    assert_eq!(reaper.join().unwrap().code(), None);
    runtime().block_on(pod.remove()).unwrap();
    pod.kill().unwrap();
    runtime().block_on(tree.remove()).unwrap();
    assert!(!tree.root().exists());
}

#[test]
fn remove_kills_by_itself() {
    let tree = tree();
    let pod = tree
        .create_pod(Qos::BestEffort, "pod", &Limits::default())
        .unwrap();
    let leaf = pod.create_child("main-0", &Limits::default()).unwrap();
    let mut child = spawn(&leaf, "sleep", &["1000"]);
    runtime().block_on(tree.remove()).unwrap();
    assert!(!tree.root().exists());
    assert_eq!(child.wait().unwrap().code(), None);
}

#[test]
fn frozen_processes_stand_still_and_can_be_killed() {
    let tree = tree();
    let pod = tree
        .create_pod(Qos::BestEffort, "pod", &Limits::default())
        .unwrap();
    let leaf = pod.create_child("main-0", &Limits::default()).unwrap();
    let mut child = spawn(&leaf, "sleep", &["1000"]);
    leaf.freeze(true).unwrap();
    runtime().block_on(pod.remove()).unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
}

#[test]
fn statistics_count_what_runs() {
    let tree = tree();
    let pod = tree
        .create_pod(Qos::BestEffort, "pod", &Limits::default())
        .unwrap();
    let leaf = pod.create_child("main-0", &Limits::default()).unwrap();
    let mut child = spawn(
        &leaf,
        "sh",
        &[
            "-c",
            "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000",
        ],
    );
    wait_for("the loop's end", || leaf.processes().unwrap().len() == 2);
    for group in [&pod, &leaf] {
        let stats = group.stats();
        assert!(stats.cpu_usage_ns.is_none_or(|used| used > 100_000), "{stats:?}");
        assert!(stats.memory_usage_bytes.is_none_or(|used| used > 0), "{stats:?}");
        assert!(
            stats.memory_working_set_bytes <= stats.memory_usage_bytes,
            "{stats:?}"
        );
        assert!(stats.pids.is_none_or(|pids| pids == 2), "{stats:?}");
    }
    assert_eq!(pod.oom_kills(), 0);
    runtime().block_on(tree.remove()).unwrap();
    child.wait().unwrap();
}

#[test]
fn out_of_memory_is_counted() {
    let tree = tree();
    let pod = tree
        .create_pod(Qos::Burstable, "pod", &Limits::default())
        .unwrap();
    let limits = Limits {
        memory_bytes: Some(16 << 20),
        oom_group: true,
        ..Limits::default()
    };
    let leaf = pod.create_child("main-0", &limits).unwrap();
    if leaf.oom_file().is_none() {
        println!("skipped: no memory controller");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); sleep 1000";
    spawn_and_wait(&leaf, script, &directory.path().join("program"));
    assert!(leaf.oom_kills() > 0);
    assert!(pod.oom_kills() > 0);
    let text = fs_err::read_to_string(leaf.oom_file().unwrap()).unwrap();
    assert!(
        text.lines()
            .any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0"),
        "{text}"
    );
}

#[test]
fn a_container_opens_only_the_usual_devices() {
    let tree = tree();
    let pod = tree
        .create_pod(Qos::BestEffort, "pod", &Limits::default())
        .unwrap();
    let limits = Limits {
        devices: Devices::Standard,
        ..Limits::default()
    };
    let leaf = pod.create_child("main-0", &limits).unwrap();
    pod.create_child("main-0", &limits).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let node = directory.path().join("mem");
    // Making any node is allowed, opening /dev/mem's number is not, /dev/null is.
    let script = "mknod $0 c 1 1 && : < /dev/null > /dev/null && head -c 1 /dev/urandom > /dev/null && ! head -c 1 $0 2> /dev/null";
    let outcome = spawn_and_wait(&leaf, script, &node);
    assert!(outcome.success(), "{outcome}");
}

fn spawn_and_wait(group: &Group, script: &str, argument: &Path) -> std::process::ExitStatus {
    // The program may be over before anyone sees it in the group.
    let start = argument.with_extension("start");
    let script = format!("until [ -e {} ]; do :; done; {script}", start.display());
    let mut child = spawn(group, "sh", &["-c", &script, &argument.display().to_string()]);
    fs_err::write(start, "").unwrap();
    child.wait().unwrap()
}

#[test]
fn names_cannot_lead_elsewhere() {
    let tree = tree();
    for name in ["", ".", "..", "a/b", "a\0b"] {
        assert!(tree.pod(Qos::BestEffort, name).is_err(), "{name:?}");
    }
    assert!(
        tree.create_pod(Qos::BestEffort, "cgroup.procs", &Limits::default())
            .is_err()
    );
    Tree::detect("../x").unwrap_err();
}

#[test]
fn groups_are_made_and_removed_again_and_again() {
    let tree = tree();
    let limits = Limits {
        cpu_shares: Some(100),
        cpu_quota_us: Some(50_000),
        memory_bytes: Some(64 << 20),
        pids: Some(100),
        devices: Devices::Standard,
        ..Limits::default()
    };
    let (mut made, mut removed) = (Vec::new(), Vec::new());
    runtime().block_on(async {
        for number in 0..100 {
            let start = Instant::now();
            let pod = tree
                .create_pod(Qos::Burstable, &format!("pod-{number}"), &limits)
                .unwrap();
            pod.create_child("init", &Limits::default()).unwrap();
            pod.create_child("main-0", &limits).unwrap();
            made.push(start.elapsed());
            let start = Instant::now();
            pod.remove().await.unwrap();
            removed.push(start.elapsed());
        }
    });
    made.sort();
    removed.sort();
    // Figures: how long it takes is the machine's business.
    println!(
        "pod, init and container group: made in {:?}, removed in {:?} (p50)",
        made[50], removed[50]
    );
    assert_eq!(tree.pods(), [], "what was removed is gone");
}
