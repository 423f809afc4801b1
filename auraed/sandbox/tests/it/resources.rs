//! Limits of containers that run, as the kernel has them, and what it does about them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use auraed_sandbox::cgroup::{Limits, Version};
use auraed_sandbox::{ContainerSpec, Error, RunState, Sandbox, StartError};

use crate::support::{Fixture, cgroup_directories, cgroup_value, code, exit_of, wait_until};

/// A value of a container's group; v1's name of the file, then v2's.
fn value(sandbox: &Sandbox, files: &[&str]) -> Option<String> {
    let group = sandbox.container_cgroup("main").unwrap();
    cgroup_value(group.relative_path().to_str().unwrap(), files)
}

fn strict() -> Limits {
    Limits {
        strict: true,
        ..Limits::default()
    }
}

/// A pod with one container that waits.
async fn waiting(fixture: &Fixture, limits: Limits) -> Sandbox {
    let (sandbox, _events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", "sleep 1000");
    spec.cgroup = limits;
    sandbox.start_container(spec).await.unwrap();
    sandbox
}

fn blame(result: Result<(), Error>) -> String {
    match result.unwrap_err() {
        Error::Refused(text) => text,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn limits_of_a_running_container_change() {
    let fixture = Fixture::new();
    let limits = Limits {
        cpu_shares: Some(100),
        cpu_quota_us: Some(50_000),
        cpu_period_us: Some(200_000),
        memory_bytes: Some(64 << 20),
        pids: Some(40),
        ..strict()
    };
    let sandbox = waiting(&fixture, limits).await;
    let memory = &["memory.limit_in_bytes", "memory.max"];
    assert_eq!(value(&sandbox, memory).unwrap(), "67108864");
    assert_eq!(value(&sandbox, &["pids.max"]).unwrap(), "40");
    let change = Limits {
        cpu_quota_us: Some(100_000),
        memory_bytes: Some(128 << 20),
        ..strict()
    };
    sandbox.update("main", &change).await.unwrap();
    assert_eq!(value(&sandbox, memory).unwrap(), "134217728");
    // The period that was not spoken of is the one before.
    match value(&sandbox, &["cpu.max"]) {
        Some(both) => assert_eq!(both, "100000 200000"),
        None => {
            assert_eq!(value(&sandbox, &["cpu.cfs_quota_us"]).unwrap(), "100000");
            assert_eq!(value(&sandbox, &["cpu.cfs_period_us"]).unwrap(), "200000");
        }
    }
    let unlimited = Limits {
        cpu_quota_us: Some(-1),
        memory_bytes: Some(0),
        pids: Some(0),
        ..strict()
    };
    sandbox.update("main", &unlimited).await.unwrap();
    assert!(matches!(
        value(&sandbox, memory).unwrap().as_str(),
        "max" | "9223372036854771712"
    ));
    assert_eq!(value(&sandbox, &["pids.max"]).unwrap(), "max");
    assert!(matches!(
        sandbox.update("other", &strict()).await,
        Err(Error::NotRunning)
    ));
    fixture.finish(sandbox).await;
}

/// Both limits go up and down; whatever is written first, the kernel never sees less of both than of one.
#[tokio::test]
async fn memory_and_swap_change_in_the_right_order() {
    let fixture = Fixture::new();
    let limits = |memory: u64, both: i64| Limits {
        memory_bytes: Some(memory << 20),
        memory_swap_bytes: Some(if both < 0 { both } else { both << 20 }),
        ..strict()
    };
    let sandbox = waiting(&fixture, limits(64, 96)).await;
    let v2 = value(&sandbox, &["memory.max"]).is_some();
    let file = if v2 {
        "memory.swap.max"
    } else {
        "memory.memsw.limit_in_bytes"
    };
    if value(&sandbox, &[file]).is_none() {
        println!("skipped: this kernel does not account for swap");
        fixture.finish(sandbox).await;
        return;
    }
    for (memory, both) in [
        (64, 96),
        (128, 128),
        (32, 512),
        (200, 256),
        (16, 16),
        (64, -1),
        (64, 64),
    ] {
        sandbox.update("main", &limits(memory, both)).await.unwrap();
        let expected = match (v2, both) {
            (true, -1) => "max".to_owned(),
            (false, -1) => "9223372036854771712".to_owned(),
            (true, both) => ((both - i64::try_from(memory).unwrap()) << 20).to_string(),
            (false, both) => (both << 20).to_string(),
        };
        assert_eq!(value(&sandbox, &[file]).unwrap(), expected, "{memory} {both}");
    }
    // Who speaks of memory alone has no swap on top of it, as before.
    let alone = Limits {
        memory_bytes: Some(128 << 20),
        ..strict()
    };
    sandbox.update("main", &alone).await.unwrap();
    assert_eq!(
        value(&sandbox, &[file]).unwrap(),
        if v2 { "0" } else { "134217728" }
    );
    let less = Limits {
        memory_swap_bytes: Some(1 << 20),
        ..strict()
    };
    assert!(blame(sandbox.update("main", &less).await).contains("less than memory"));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_container_keeps_to_its_cpus() {
    let fixture = Fixture::new();
    let limits = Limits {
        cpuset_cpus: Some("0".to_owned()),
        cpuset_mems: Some("0".to_owned()),
        ..strict()
    };
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script(
        "main",
        "grep -E '(Cpus|Mems)_allowed_list' /proc/self/status | tr -d '\\t'",
    );
    spec.cgroup = limits;
    match sandbox.start_container(spec).await {
        Err(StartError::Refused(text)) => {
            assert!(text.contains("cpuset is not available"), "{text}");
            println!("skipped: no cpuset on this kernel");
        }
        started => {
            started.unwrap();
            exit_of(&mut events, "main").await;
            let output = fixture.output("main", "stdout");
            assert_eq!(output, "Cpus_allowed_list:0\nMems_allowed_list:0\n");
            let mut spec = fixture.script("second", "sleep 1000");
            spec.cgroup.strict = true;
            sandbox.start_container(spec).await.unwrap();
            let set = |cpus: &str| Limits {
                cpuset_cpus: Some(cpus.to_owned()),
                ..strict()
            };
            sandbox.update("second", &set("0")).await.unwrap();
            let text = blame(sandbox.update("second", &set("4000-4001")).await);
            assert!(text.contains("set of CPUs"), "{text}");
            assert!(blame(sandbox.update("second", &set("0-x")).await).contains("cpuset.cpus"));
        }
    }
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn huge_pages_are_limited() {
    let fixture = Fixture::new();
    let pages = |size: &str, bytes| Limits {
        huge_pages: vec![(size.to_owned(), bytes)],
        ..strict()
    };
    // As a kubelet asks for all sizes: none of those that nobody has.
    let mut limits = pages("2MB", 0);
    limits.huge_pages.push(("3GB".to_owned(), 0));
    let sandbox = waiting(&fixture, limits).await;
    let files = &["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"];
    if value(&sandbox, files).is_none() {
        assert!(blame(sandbox.update("main", &pages("2MB", 4 << 20)).await).contains("huge pages"));
        println!("skipped: no huge pages of 2MB on this kernel");
    } else {
        assert_eq!(value(&sandbox, files).unwrap(), "0");
        sandbox.update("main", &pages("2MB", 4 << 20)).await.unwrap();
        assert_eq!(value(&sandbox, files).unwrap(), "4194304");
        assert!(blame(sandbox.update("main", &pages("3GB", 1)).await).contains("3GB"));
    }
    assert!(blame(sandbox.update("main", &pages("../2MB", 1)).await).contains("../2MB"));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn files_of_v2_are_written_as_they_are() {
    let fixture = Fixture::new();
    let file = |file: &str, value: &str| Limits {
        unified: vec![(file.to_owned(), value.to_owned())],
        ..strict()
    };
    let sandbox = waiting(&fixture, Limits::default()).await;
    if fixture.host.cgroup_version() == Version::V1 {
        assert!(blame(sandbox.update("main", &file("memory.high", "max")).await).contains("v1 alone"));
        println!("skipped: cgroup v1 alone");
        fixture.finish(sandbox).await;
        return;
    }
    sandbox
        .update("main", &file("cgroup.max.depth", "3"))
        .await
        .unwrap();
    assert_eq!(value(&sandbox, &["cgroup.max.depth"]).unwrap(), "3");
    if value(&sandbox, &["memory.high"]).is_some() {
        let limits = Limits {
            memory_bytes: Some(64 << 20),
            unified: vec![
                ("memory.high".to_owned(), "33554432".to_owned()),
                ("memory.oom.group".to_owned(), "1".to_owned()),
                ("memory.swap.max".to_owned(), "4096".to_owned()),
            ],
            ..strict()
        };
        sandbox.update("main", &limits).await.unwrap();
        assert_eq!(value(&sandbox, &["memory.high"]).unwrap(), "33554432");
        assert_eq!(value(&sandbox, &["memory.oom.group"]).unwrap(), "1");
    } else {
        let text = blame(sandbox.update("main", &file("memory.high", "max")).await);
        assert!(text.contains("memory.high"), "{text}");
    }
    for (name, content, told) in [
        ("no.such.file", "1", "no.such.file"),
        ("../cgroup.procs", "1", "not the name"),
        ("a/b.c", "1", "not the name"),
        ("cgroup.procs", "1", "cannot be set by a caller"),
        ("cgroup.max.depth", "x", "cgroup.max.depth"),
    ] {
        let text = blame(sandbox.update("main", &file(name, content)).await);
        assert!(text.contains(told), "{text}");
    }
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_container_whose_limits_make_no_sense_is_to_blame() {
    let fixture = Fixture::new();
    let (sandbox, _events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", "true");
    spec.cgroup.cpu_period_us = Some(5);
    match sandbox.start_container(spec).await {
        Err(StartError::Refused(text)) => assert!(text.contains("5 us"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert!(sandbox.container_cgroup("main").is_none());
    fixture.finish(sandbox).await;
}

fn hungry(spec: &mut ContainerSpec) {
    spec.cgroup.memory_bytes = Some(16 << 20);
}

#[tokio::test]
async fn who_was_killed_for_want_of_memory_is_told() {
    let main = "exec dd if=/dev/zero of=/dev/null bs=100M count=1";
    let child = "dd if=/dev/zero of=/dev/null bs=100M count=1; exit 7";
    for (script, expected) in [(main, 137), (child, 7)] {
        let (_, state) = Fixture::new().run(hungry, script).await;
        let RunState::Exited {
            exit_code,
            oom_killed,
            ..
        } = state
        else {
            panic!("{state:?}");
        };
        assert_eq!((exit_code, oom_killed), (expected, true), "{script}");
    }
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    sandbox
        .start_container(fixture.script("main", "sleep 1000"))
        .await
        .unwrap();
    sandbox.kill("main").await.unwrap();
    let state = exit_of(&mut events, "main").await.state;
    let killed = matches!(
        state,
        RunState::Exited {
            oom_killed: false,
            exit_code: 137,
            ..
        }
    );
    assert!(killed, "{state:?}");
    fixture.finish(sandbox).await;
}

/// With the switch of v2 the whole container goes, as the kubelet wants it.
#[tokio::test]
async fn a_group_of_processes_is_killed_together_on_v2() {
    let fixture = Fixture::new();
    if fixture.host.cgroup_version() != Version::V2 {
        println!("skipped: memory is not on cgroup v2");
        return;
    }
    let adjust = |spec: &mut ContainerSpec| {
        hungry(spec);
        spec.cgroup.unified = vec![("memory.oom.group".to_owned(), "1".to_owned())];
    };
    let script = "dd if=/dev/zero of=/dev/null bs=100M count=1; exit 7";
    let (_, state) = fixture.run(adjust, script).await;
    assert!(
        matches!(
            state,
            RunState::Exited {
                oom_killed: true,
                exit_code: 137,
                ..
            }
        ),
        "{state:?}"
    );
}

#[tokio::test]
async fn statistics_tell_limits_kills_and_pressure() {
    let fixture = Fixture::new();
    let (sandbox, _events) = fixture.sandbox().await;
    let script = "dd if=/dev/zero of=/dev/null bs=100M count=1; touch /tmp/done; sleep 1000";
    let mut spec = fixture.script("main", script);
    let done = spec.rootfs.upper.join("tmp/done");
    hungry(&mut spec);
    sandbox.start_container(spec).await.unwrap();
    wait_until(|| done.exists());
    let group = sandbox.container_cgroup("main").unwrap();
    let stats = group.stats();
    let least = (0..100).map(|_| {
        let begin = std::time::Instant::now();
        group.stats();
        begin.elapsed()
    });
    println!("{stats:?}\nread in {:?}", least.min());
    assert_eq!(stats.memory_limit_bytes, Some(16 << 20));
    assert_eq!(stats.oom_kills, 1);
    assert!(stats.memory_working_set_bytes <= stats.memory_usage_bytes);
    assert!(stats.page_faults.unwrap() > 0);
    assert!(stats.pids.unwrap() >= 1);
    assert!(stats.cpu_usage_ns.unwrap() > 0);
    let pod = sandbox.cgroup().unwrap().stats();
    assert_eq!((pod.memory_limit_bytes, pod.oom_kills), (None, 1));
    assert!(pod.pids >= stats.pids);
    let measured = std::path::Path::new("/proc/pressure/cpu").exists();
    let unified = fixture.host.cgroup_version() != Version::V1;
    assert_eq!(stats.cpu_pressure.is_some(), measured && unified);
    assert_eq!(stats.memory_pressure.is_some(), measured && unified);
    if let Some(pressure) = stats.memory_pressure {
        assert!(pressure.some.avg10 >= 0.0);
    }
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn groups_that_a_privileged_container_made_go_with_it() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let script = "for directory in /sys/fs/cgroup /sys/fs/cgroup/*/; do \
                  test -e $directory/cgroup.procs && mkdir -p $directory/below/it && echo made; done; true";
    let mut spec = fixture.script("main", script);
    spec.privileged = true;
    sandbox.start_container(spec).await.unwrap();
    assert_eq!(code(&exit_of(&mut events, "main").await.state), (0, 0));
    assert!(fixture.output("main", "stdout").contains("made"));
    let pod = sandbox.cgroup().unwrap().relative_path().display().to_string();
    let left = cgroup_directories(&format!("{pod}/main-0"));
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
    fixture.finish(sandbox).await;
}
