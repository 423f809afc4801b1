//! Daemons that come and go, pods that run out of memory, and what is left.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use auraed_sandbox::cgroup::Limits;
use auraed_sandbox::{Error, RunState, Sandbox, SandboxEvent, SandboxSpec, StartError, remove_leftovers};

use crate::support::{Fixture, PATIENCE, code, event, exit_of, wait_until};

#[tokio::test]
async fn a_pod_outlives_its_daemon_and_is_adopted_with_all_that_happened() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let gate = fixture.path("gate");
    let fifo = std::process::Command::new("mkfifo").arg(&gate).status().unwrap();
    assert!(fifo.success());
    let mut ending = fixture.script("ending", "cat /gate > /dev/null; echo last words; exit 5");
    ending.mounts.push(auraed_sandbox::Mount {
        source: gate.clone(),
        target: "/gate".to_owned(),
        ..auraed_sandbox::Mount::default()
    });
    sandbox.start_container(ending).await.unwrap();
    sandbox
        .start_container(fixture.script("staying", "while :; do sleep 0.01; done"))
        .await
        .unwrap();
    let init = sandbox.init_pid();
    // The daemon dies: nobody listens any more. Then the container ends.
    let exit_record = fixture.path("state/ending/0/exit.json");
    drop((sandbox, events));
    tokio::task::spawn_blocking(move || drop(fs_err::OpenOptions::new().write(true).open(gate).unwrap()))
        .await
        .unwrap();
    tokio::task::spawn_blocking(move || wait_until(|| exit_record.exists()))
        .await
        .unwrap();
    assert_eq!(fixture.output("ending", "stdout"), "last words\n");

    let host = fixture.another_host();
    let (sandbox, events_again, runs) = Sandbox::adopt(&host, &fixture.id())
        .await
        .unwrap()
        .expect("it still runs");
    events = events_again;
    assert_eq!(sandbox.init_pid(), init);
    let states: Vec<_> = runs.iter().map(|run| (run.name.as_str(), &run.state)).collect();
    assert!(
        matches!(
            states[..],
            [
                ("ending", RunState::Exited { exit_code: 5, .. }),
                ("staying", RunState::Running { .. })
            ]
        ),
        "{states:?}"
    );
    // It goes on as before.
    sandbox
        .start_container(fixture.script("new", "exit 6"))
        .await
        .unwrap();
    assert_eq!(code(&exit_of(&mut events, "new").await.state), (6, 0));
    sandbox.kill("staying").await.unwrap();
    assert_eq!(code(&exit_of(&mut events, "staying").await.state), (137, 9));
    fixture.finish(sandbox).await;
    assert!(Sandbox::adopt(&host, &fixture.id()).await.unwrap().is_none());
}

#[tokio::test]
async fn two_daemons_see_the_same() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let (other, mut other_events, _) = Sandbox::adopt(&fixture.host, &fixture.id())
        .await
        .unwrap()
        .unwrap();
    other
        .start_container(fixture.script("main", "exit 1"))
        .await
        .unwrap();
    assert_eq!(
        exit_of(&mut events, "main").await,
        exit_of(&mut other_events, "main").await
    );
    drop((other, other_events));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn the_end_of_the_init_is_the_end_of_the_pod() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    sandbox
        .start_container(fixture.script("main", "sleep 1000"))
        .await
        .unwrap();
    let processes = sandbox.cgroup().unwrap().processes().unwrap();
    assert_eq!(processes.len(), 2);
    let init = rustix::process::Pid::from_raw(sandbox.init_pid().cast_signed()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::KILL).unwrap();
    let ended = async { while events.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("the end of the init was not told");
    for pid in processes {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} runs on");
    }
    assert!(matches!(sandbox.signal("main", 15).await, Err(Error::Gone)));
    let start = sandbox.start_container(fixture.script("other", "true")).await;
    assert!(matches!(start, Err(StartError::Sandbox(Error::Gone))));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn out_of_memory_is_told() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", "tail -c 200000000 /dev/zero > /dev/null");
    spec.cgroup = Limits {
        memory_bytes: Some(32 << 20),
        ..Limits::default()
    };
    spec.args = ["tail", "-c", "200000000", "/dev/zero"].map(str::to_owned).into();
    sandbox.start_container(spec).await.unwrap();
    let run = exit_of(&mut events, "main").await;
    assert!(
        matches!(
            run.state,
            RunState::Exited {
                exit_code: 137,
                signal: 9,
                oom_killed: true,
                ..
            }
        ),
        "{run:?}"
    );
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn destroying_records_what_ran_and_leaves_nothing() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let script = "echo started; sleep 1000 & sleep 1000 & trap '' TERM; wait";
    for name in ["one", "two"] {
        sandbox
            .start_container(fixture.script(name, script))
            .await
            .unwrap();
    }
    wait_until(|| sandbox.cgroup().unwrap().processes().unwrap().len() == 7);
    fixture.finish(sandbox).await;
    for name in ["one", "two"] {
        let record = auraed_sandbox::read_exit_record(&fixture.path("state").join(name).join("0/exit.json"));
        assert_eq!(code(&record.unwrap().unwrap().state), (137, 9));
        assert_eq!(fixture.output(name, "stdout"), "started\n");
    }
    let mut exits = 0;
    while let Some(event) = events.next().await {
        exits += i32::from(matches!(event, SandboxEvent::Exited(_)));
    }
    assert_eq!(exits, 2);
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_made_leaves_nothing() {
    let fixture = Fixture::new();
    for (name, value) in [
        ("net.ipv4.no_such_thing", "1"),
        ("kernel.panic", "1"),
        ("net.ipv4.ip_forward", "x"),
    ] {
        let sysctls = vec![(name.to_owned(), value.to_owned())];
        let error = Sandbox::create(
            &fixture.host,
            SandboxSpec {
                sysctls,
                ..fixture.pod()
            },
        )
        .await
        .unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
    }
    let error = Sandbox::create(
        &fixture.host,
        SandboxSpec {
            hostname: "x".repeat(65),
            ..fixture.pod()
        },
    )
    .await;
    assert!(matches!(error, Err(Error::Refused(_))), "{error:?}");
    assert!(fixture.host.cgroups().pods().is_empty());
    assert_eq!(fs_err::read_dir(fixture.path("run/pods")).unwrap().count(), 0);
}

#[tokio::test]
async fn leftovers_are_removed_and_running_pods_are_named() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    sandbox
        .start_container(fixture.script("main", "sleep 1000"))
        .await
        .unwrap();
    let found = remove_leftovers(&fixture.host, &HashSet::new()).await.unwrap();
    assert_eq!((found.removed, found.running), (vec![], vec![fixture.id()]));
    let known = HashSet::from([fixture.id()]);
    let found = remove_leftovers(&fixture.host, &known).await.unwrap();
    assert!(found.removed.is_empty() && found.running.is_empty());

    let init = rustix::process::Pid::from_raw(sandbox.init_pid().cast_signed()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::KILL).unwrap();
    while events.next().await.is_some() {}
    drop((sandbox, events));
    let found = remove_leftovers(&fixture.host, &HashSet::new()).await.unwrap();
    assert_eq!((found.removed, found.running), (vec![fixture.id()], vec![]));
    assert!(fixture.host.cgroups().pods().is_empty());
    assert!(!fixture.host.pod_directory(&fixture.id()).exists());
}

#[tokio::test]
async fn a_pod_with_a_long_path_is_reached_all_the_same() {
    let fixture = Fixture::new();
    let mut pod = fixture.pod();
    pod.id = format!("{}-{}", fixture.id(), "x".repeat(40));
    let (id, run_dir) = (pod.id.clone(), fixture.path("run"));
    assert!(run_dir.join("pods").join(&id).join("init.sock").as_os_str().len() > 80);
    let (sandbox, events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    drop((sandbox, events));
    let (sandbox, ..) = Sandbox::adopt(&fixture.host, &id).await.unwrap().unwrap();
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn events_come_in_order() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    sandbox
        .start_container(fixture.script("main", "true"))
        .await
        .unwrap();
    assert!(matches!(event(&mut events).await, SandboxEvent::Started(run) if run.name == "main"));
    assert!(matches!(event(&mut events).await, SandboxEvent::Exited(run) if run.name == "main"));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_second_sandbox_of_an_id_is_refused() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    assert!(matches!(
        Sandbox::create(&fixture.host, fixture.pod()).await,
        Err(Error::Exists)
    ));
    sandbox
        .start_container(fixture.script("main", "exit 2"))
        .await
        .unwrap();
    assert_eq!(code(&exit_of(&mut events, "main").await.state), (2, 0));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn nothing_piles_up_in_a_pod_init() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let init = sandbox.init_pid();
    let descriptors = || fs_err::read_dir(format!("/proc/{init}/fd")).unwrap().count();
    let memory = || {
        let memory = fs_err::read_to_string(format!("/proc/{init}/smaps_rollup")).unwrap();
        let line = memory
            .lines()
            .find_map(|line| line.strip_prefix("Anonymous:"))
            .unwrap()
            .to_owned();
        line.trim_end_matches("kB").trim().parse::<usize>().unwrap()
    };
    let mut before = (0, 0);
    for attempt in 0..40 {
        let mut spec = fixture.script("main", "head -c 100000 /dev/zero; exit 1");
        let own = fixture.path("state/main").join(attempt.to_string());
        (spec.attempt, spec.id) = (attempt, format!("id{attempt}"));
        (spec.rootfs.upper, spec.rootfs.work) = (own.join("upper"), own.join("work"));
        sandbox.start_container(spec).await.unwrap();
        exit_of(&mut events, "main").await;
        if attempt == 10 {
            before = (descriptors(), memory());
        }
    }
    wait_until(|| descriptors() == before.0);
    assert!(memory() < before.1 + 100, "{} KiB, before {}", memory(), before.1);
    assert!(memory() < 1024, "{} KiB", memory());
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_daemon_that_dies_in_the_middle_leaves_a_pod_that_can_be_told_apart() {
    let fixture = Fixture::new();
    let (sandbox, events) = fixture.sandbox().await;
    let id = fixture.id();
    // A start that nobody waits for, and then nobody is there at all.
    let start = sandbox.start_container(fixture.script("main", "sleep 1000"));
    let started = tokio::time::timeout(std::time::Duration::ZERO, start).await;
    drop((sandbox, events));
    let (sandbox, mut events, runs) = Sandbox::adopt(&fixture.host, &id).await.unwrap().unwrap();
    match (started, &runs[..]) {
        (Ok(run), [adopted]) => assert_eq!(run.unwrap(), *adopted),
        (Err(_), [adopted]) => assert!(matches!(adopted.state, RunState::Running { .. })),
        // The request was never sent.
        (Err(_), []) => {}
        (started, runs) => panic!("{started:?} {runs:?}"),
    }
    if !runs.is_empty() {
        sandbox.kill("main").await.unwrap();
        exit_of(&mut events, "main").await;
    }
    fixture.finish(sandbox).await;
}

/// Lets a pod init have no more files open than these.
fn limit_files(sandbox: &Sandbox, most: u64) {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let init = Pid::from_raw(sandbox.init_pid().cast_signed());
    let limit = Rlimit {
        current: Some(most),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(init, Resource::Nofile, limit).unwrap();
}

/// Hundredths of a second that a process has run.
fn ran(pid: u32) -> u64 {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn an_init_that_has_no_room_for_a_mount_says_so_and_goes_on() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    sandbox
        .start_container(fixture.script("main", "read line; exit 3"))
        .await
        .unwrap();
    limit_files(&sandbox, 6);
    let refused = sandbox.start_container(fixture.script("other", "true")).await;
    let Err(StartError::Sandbox(Error::Init(text))) = &refused else {
        panic!("{refused:?}");
    };
    assert!(text.contains("open files"), "{text}");
    limit_files(&sandbox, 1024);
    sandbox
        .start_container(fixture.script("other", "exit 4"))
        .await
        .unwrap();
    assert_eq!(code(&exit_of(&mut events, "other").await.state), (4, 0));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn an_init_that_has_no_room_for_a_client_turns_it_away() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    const MOST: u64 = 40;
    let fixture = Fixture::new();
    let (sandbox, _events) = fixture.sandbox().await;
    limit_files(&sandbox, MOST);
    let path = fixture.host.pod_directory(sandbox.id()).join("init.sock");
    let address = SocketAddrUnix::new(&path).unwrap();
    let mut clients = Vec::new();
    let begin = Instant::now();
    while clients.len() < MOST as usize + 10 {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        match connect(&client, &address) {
            Ok(()) => clients.push(client),
            Err(rustix::io::Errno::AGAIN) => {
                assert!(begin.elapsed() < PATIENCE, "nobody takes connections");
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    // The last one is closed by the other side, and nobody runs in circles.
    let last = clients.last().unwrap();
    wait_until(|| rustix::io::read(last, &mut [0; 8]) == Ok(0));
    let before = ran(sandbox.init_pid());
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(ran(sandbox.init_pid()) - before < 3);
    drop(clients);
    limit_files(&sandbox, 1024);
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_container_of_a_user_in_ten_thousands_of_groups_starts() {
    use std::fmt::Write as _;
    const GROUPS: u32 = 40_000;
    let fixture = Fixture::new();
    let mut groups = String::new();
    for number in 0..GROUPS {
        writeln!(groups, "g:x:{}:web", 1_000_000 + number).unwrap();
    }
    fs_err::write(fixture.path("state/root/etc/group"), groups).unwrap();
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", "read line; grep Groups /proc/self/status | wc -w");
    spec.user.name = "web".to_owned();
    spec.stdin = true;
    let started = tokio::time::timeout(PATIENCE, sandbox.start_container(spec)).await;
    let run = started.expect("its start is told").unwrap();
    assert_eq!(run.user.unwrap().groups.len(), GROUPS as usize + 1);
    sandbox.close_stdin("main").await.unwrap();
    assert_eq!(code(&exit_of(&mut events, "main").await.state), (0, 0));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn an_init_that_is_stopped_keeps_nobody_waiting() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    use rustix::process::{Pid, Signal, kill_process};
    let fixture = Fixture::new();
    let (sandbox, _events) = fixture.sandbox().await;
    let init = Pid::from_raw(sandbox.init_pid().cast_signed()).unwrap();
    kill_process(init, Signal::STOP).unwrap();
    let path = fixture.host.pod_directory(sandbox.id()).join("init.sock");
    let address = SocketAddrUnix::new(&path).unwrap();
    let mut clients = Vec::new();
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        match connect(&client, &address) {
            Ok(()) => clients.push(client),
            Err(rustix::io::Errno::AGAIN) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let (host, id) = (fixture.host.clone(), fixture.id());
    // On a thread of its own: it must not be able to hold this one.
    let (told, adopted) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let adopted = runtime.block_on(Sandbox::adopt(&host, &id)).is_ok();
        let ended = runtime.block_on(auraed_sandbox::end_sandbox(&host, &id));
        told.send((adopted, ended)).unwrap();
    });
    let told = adopted.recv_timeout(PATIENCE);
    // If it was not killed.
    let _ = kill_process(init, Signal::CONT);
    drop(clients);
    let (adopted, ended) = told.expect("it waits for ever");
    assert!(!adopted);
    ended.unwrap();
    fixture.finish(sandbox).await;
}
