//! Where a sandbox's cgroup is made, and that it is gone afterwards, whoever died meanwhile.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashSet;

use auraed_sandbox::cgroup::{Limits, Placement};
use auraed_sandbox::{Error, Sandbox, SandboxSpec, end_sandbox, remove_leftovers};

use crate::support::{Fixture, cgroup_directories, cgroup_value, exit_of, wait_until};

fn below(fixture: &Fixture, parent: &str) -> SandboxSpec {
    SandboxSpec {
        placement: Placement::Below(parent.to_owned()),
        ..fixture.pod()
    }
}

/// As many as there are hierarchies that a pod is in.
fn places(fixture: &Fixture) -> usize {
    cgroup_directories(fixture.host.cgroups().root().relative_path().to_str().unwrap()).len()
}

#[tokio::test]
async fn a_missing_parent_is_made_and_removed() {
    let fixture = Fixture::new();
    let top = format!("/{}-top", fixture.id());
    let parent = format!("{top}/burstable/pod1");
    let mut spec = below(&fixture, &parent);
    spec.cgroup = Limits {
        cpu_shares: Some(512),
        memory_bytes: Some(256 << 20),
        ..Limits::default()
    };
    let (sandbox, mut events) = Sandbox::create(&fixture.host, spec).await.unwrap();
    let own = format!("{parent}/{}", fixture.id());
    assert_eq!(cgroup_directories(&own).len(), places(&fixture));
    assert_eq!(
        cgroup_value(&own, &["memory.max", "memory.limit_in_bytes"]).as_deref(),
        Some("268435456")
    );
    let mut container = fixture.script("main", "exit 3");
    container.cgroup.pids = Some(50);
    sandbox.start_container(container).await.unwrap();
    exit_of(&mut events, "main").await;
    let (id, host) = (sandbox.id().to_owned(), fixture.host.clone());
    fixture.finish(sandbox).await;
    assert!(cgroup_directories(&top).is_empty());
    end_sandbox(&host, &id).await.unwrap();
}

#[tokio::test]
async fn a_parent_that_was_there_stays() {
    let fixture = Fixture::new();
    let parent = format!("/{}-kubepods/pod1", fixture.id());
    // As a kubelet does it, in every hierarchy that a pod is in.
    let root = fixture.host.cgroups().root();
    let root = root.relative_path().to_str().unwrap();
    let roots = cgroup_directories(root);
    for directory in &roots {
        let mount = directory.ancestors().nth(1).unwrap();
        fs_err::create_dir_all(mount.join(parent.trim_start_matches('/'))).unwrap();
    }
    let (sandbox, _events) = Sandbox::create(&fixture.host, below(&fixture, &parent))
        .await
        .unwrap();
    fixture.finish(sandbox).await;
    let left = cgroup_directories(&parent);
    assert_eq!(left.len(), roots.len());
    for directory in left {
        assert_eq!(
            std::fs::read_dir(&directory)
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().path().is_dir())
                .count(),
            0
        );
        fs_err::remove_dir(&directory).unwrap();
        fs_err::remove_dir(directory.parent().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn the_last_sandbox_takes_the_parent_along() {
    let (first, second) = (Fixture::new(), Fixture::new());
    let parent = format!("/{}-shared", first.id());
    let (one, _events) = Sandbox::create(&first.host, below(&first, &parent))
        .await
        .unwrap();
    let (other, _events) = Sandbox::create(&second.host, below(&second, &parent))
        .await
        .unwrap();
    first.finish(one).await;
    assert!(!cgroup_directories(&parent).is_empty());
    second.finish(other).await;
    assert!(cgroup_directories(&parent).is_empty());
}

#[tokio::test]
async fn sandboxes_beside_each_other_make_and_remove_one_parent() {
    let fixtures: Vec<Fixture> = (0..4).map(|_| Fixture::new()).collect();
    let parent = format!("/{}-contended/x", fixtures[0].id());
    let rounds = fixtures.iter().map(|fixture| async {
        for _ in 0..5 {
            let (sandbox, _events) = Sandbox::create(&fixture.host, below(fixture, &parent))
                .await
                .unwrap();
            fixture.finish(sandbox).await;
        }
    });
    futures_util::future::join_all(rounds).await;
    assert!(cgroup_directories(&format!("/{}-contended", fixtures[0].id())).is_empty());
}

#[tokio::test]
async fn a_daemon_that_comes_later_finds_the_cgroup() {
    let fixture = Fixture::new();
    let parent = format!("/{}-adopted", fixture.id());
    let (sandbox, events) = Sandbox::create(&fixture.host, below(&fixture, &parent))
        .await
        .unwrap();
    let init = sandbox.init_pid();
    drop((sandbox, events));
    let host = fixture.another_host();
    let (sandbox, _events, _) = Sandbox::adopt(&host, &fixture.id()).await.unwrap().unwrap();
    let group = sandbox.cgroup().unwrap();
    assert!(format!("/{}", group.relative_path().display()).starts_with(&parent));
    assert_eq!(group.processes().unwrap(), [init]);
    fixture.finish(sandbox).await;
    assert!(cgroup_directories(&parent).is_empty());
}

#[tokio::test]
async fn what_a_crash_leaves_is_found_by_its_record() {
    let fixture = Fixture::new();
    let parent = format!("/{}-left", fixture.id());
    let (sandbox, events) = Sandbox::create(&fixture.host, below(&fixture, &parent))
        .await
        .unwrap();
    let init = sandbox.init_pid();
    // The task that would reap it goes with the handles.
    drop((sandbox, events));
    let pid = rustix::process::Pid::from_raw(i32::try_from(init).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_until(|| {
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG)
            .is_ok_and(|ended| ended.is_some())
    });
    assert!(!cgroup_directories(&parent).is_empty());
    let found = remove_leftovers(&fixture.another_host(), &HashSet::new())
        .await
        .unwrap();
    assert_eq!(found.removed, [fixture.id()]);
    assert!(cgroup_directories(&parent).is_empty());
    assert!(!fixture.host.pod_directory(&fixture.id()).exists());
}

#[tokio::test]
async fn a_start_that_was_cut_off_leaves_no_parent() {
    let fixture = Fixture::new();
    // Killed between the record and the group: some of the parent is there, without its mark.
    let parent = format!("/{}-cut/a/b", fixture.id());
    let directory = fixture.host.pod_directory(&fixture.id());
    fs_err::create_dir_all(&directory).unwrap();
    let record = fixture.host.cgroups().record(&parent).unwrap();
    assert_eq!(
        record.made.as_deref(),
        Some(std::path::Path::new(&parent[1..].trim_end_matches("/a/b")))
    );
    fs_err::write(directory.join("cgroup"), serde_json::to_vec(&record).unwrap()).unwrap();
    let root = fixture.host.cgroups().root();
    for directory in cgroup_directories(root.relative_path().to_str().unwrap()) {
        let mount = directory.ancestors().nth(1).unwrap();
        fs_err::create_dir_all(mount.join(parent[1..].trim_end_matches("/b"))).unwrap();
    }
    remove_leftovers(&fixture.host, &HashSet::new()).await.unwrap();
    assert!(cgroup_directories(&format!("/{}-cut", fixture.id())).is_empty());
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_parent_cannot_lead_elsewhere() {
    let fixture = Fixture::new();
    for parent in ["", "kubepods", "/a/../b", "/a/./b", "/a\nb", "system.slice:cri:x"] {
        let created = Sandbox::create(&fixture.host, below(&fixture, parent)).await;
        assert!(matches!(created, Err(Error::Cgroup { .. })), "{parent:?}");
    }
    assert!(!fixture.host.pod_directory(&fixture.id()).exists());
}
