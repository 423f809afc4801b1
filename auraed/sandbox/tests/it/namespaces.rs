//! Whose processes a container sees, how it is known outside, and streams that end.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::fd::AsRawFd;

use auraed_sandbox::network::namespace;
use auraed_sandbox::{ContainerRun, NetworkNamespace, PidMode, RunState, Sandbox, StartError};

use crate::support::{Fixture, code, exit_of, read_to_end, wait_until};

fn link(path: &str) -> String {
    fs_err::read_link(path).unwrap().display().to_string()
}

/// What a process has open.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs_err::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    // Some close while they are listed.
    let links = entries.filter_map(|entry| fs_err::read_link(entry.path()).ok());
    links.map(|link| link.display().to_string()).collect()
}

#[tokio::test]
async fn a_container_joins_anothers_processes() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let target = sandbox
        .start_container(fixture.container("target", &["sleep", "1000"]))
        .await
        .unwrap();
    let mut spec = fixture.script(
        "debug",
        "cat /proc/1/comm; readlink /proc/self/ns/pid; ps | grep -c sleep; kill -9 1; read line",
    );
    (spec.pid, spec.stdin) = (PidMode::Target("target".to_owned()), true);
    let run = sandbox.start_container(spec).await.unwrap();
    let of = |run: &ContainerRun| link(&format!("/proc/{}/ns/pid", run.pid.unwrap()));
    assert_eq!(of(&run), of(&target));
    // Programs run beside it are where it is.
    let exec = auraed_sandbox::ExecSpec {
        args: ["cat", "/proc/1/comm"].map(str::to_owned).into(),
        ..auraed_sandbox::ExecSpec::default()
    };
    let exec = sandbox.exec("debug", exec).await.unwrap();
    assert_eq!(read_to_end(&exec.stdout).await, "sleep\n");
    wait_until(|| fixture.output("debug", "stdout").lines().count() == 3);
    // Its end is nobody else's, but the target's is its own.
    sandbox.kill("debug").await.unwrap();
    exit_of(&mut events, "debug").await;
    let output = fixture.output("debug", "stdout");
    assert!(output.starts_with("sleep\npid:["), "{output}");
    let mut spec = fixture.script("second", "sleep 1000");
    spec.pid = PidMode::Target("target".to_owned());
    sandbox.start_container(spec).await.unwrap();
    sandbox.kill("target").await.unwrap();
    let mut ends = vec![exit_of_any(&mut events).await, exit_of_any(&mut events).await];
    ends.sort();
    assert_eq!(
        ends,
        [("second".to_owned(), (137, 9)), ("target".to_owned(), (137, 9))]
    );
    let mut spec = fixture.container("third", &["true"]);
    spec.pid = PidMode::Target("target".to_owned());
    let error = sandbox.start_container(spec).await.unwrap_err();
    assert!(
        matches!(&error, StartError::Refused(text) if text == "the target container target is not running"),
        "{error}"
    );
    fixture.finish(sandbox).await;
}

async fn exit_of_any(events: &mut auraed_sandbox::Events) -> (String, (i32, i32)) {
    loop {
        if let auraed_sandbox::SandboxEvent::Exited(run) = crate::support::event(events).await {
            return (run.name, code(&run.state));
        }
    }
}

#[tokio::test]
async fn a_sandbox_mixes_processes_of_its_own_and_shared_ones() {
    for host_pid in [false, true] {
        let fixture = Fixture::new();
        let mut pod = fixture.pod();
        (pod.share_pid, pod.host_pid) = (!host_pid, host_pid);
        let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
        let open = || descriptors(sandbox.init_pid());
        let before = open().len();
        let mut runs = Vec::new();
        for (name, pid) in [
            ("first", PidMode::Sandbox),
            ("second", PidMode::Sandbox),
            ("alone", PidMode::Container),
        ] {
            let mut spec = fixture.script(name, "sleep 1000 & readlink /proc/self/ns/pid; echo $$; wait");
            spec.pid = pid;
            runs.push(sandbox.start_container(spec).await.unwrap());
        }
        let namespaces: Vec<String> = runs
            .iter()
            .map(|run| link(&format!("/proc/{}/ns/pid", run.pid.unwrap())))
            .collect();
        assert_eq!(namespaces[0], namespaces[1]);
        assert_ne!(namespaces[0], namespaces[2]);
        assert_eq!(namespaces[0] == link("/proc/self/ns/pid"), host_pid);
        for run in &runs {
            wait_until(|| fixture.output(&run.name, "stdout").lines().count() == 2);
            sandbox.signal(&run.name, libc::SIGKILL).await.unwrap();
            assert_eq!(code(&exit_of(&mut events, &run.name).await.state), (137, 9));
            // It would hold up the end of the pod for a grace period of the kernel.
            assert!(!open().contains(&"anon_inode:inotify".to_owned()));
        }
        assert!(fixture.output("alone", "stdout").ends_with("\n1\n"));
        // What they started has ended with them, in whatever namespace.
        for run in &runs {
            wait_until(|| sandbox.container_cgroup(&run.name).is_none());
        }
        wait_until(|| open().len() == before);
        fixture.finish(sandbox).await;
    }
}

#[tokio::test]
async fn processes_are_told_by_the_hosts_numbers() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let run = sandbox
        .start_container(fixture.container("main", &["sleep", "1000"]))
        .await
        .unwrap();
    let pid = run.pid.unwrap();
    assert_eq!(
        fs_err::read_to_string(format!("/proc/{pid}/comm")).unwrap(),
        "sleep\n"
    );
    let host = fixture.another_host();
    let (other, _, runs) = Sandbox::adopt(&host, &fixture.id()).await.unwrap().unwrap();
    assert_eq!(runs[0].pid, Some(pid));
    drop(other);
    sandbox.kill("main").await.unwrap();
    let run = exit_of(&mut events, "main").await;
    assert_eq!(run.pid, None);
    assert!(matches!(run.state, RunState::Exited { .. }));
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn the_sandboxs_network_is_found_while_it_lives() {
    let fixture = Fixture::new();
    let mut pod = fixture.pod();
    let network = namespace(None).unwrap();
    let name = link(&format!("/proc/self/fd/{}", network.as_raw_fd()));
    pod.network = NetworkNamespace::Namespace(network);
    let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    let found = sandbox.network_namespace().unwrap();
    assert_eq!(link(&format!("/proc/self/fd/{}", found.as_raw_fd())), name);
    drop(found);
    sandbox
        .start_container(fixture.script("main", "ip link show lo | grep -o ,UP,"))
        .await
        .unwrap();
    exit_of(&mut events, "main").await;
    assert_eq!(fixture.output("main", "stdout"), ",UP,\n");
    let ended = sandbox.clone();
    fixture.finish(sandbox).await;
    assert!(ended.network_namespace().is_err());
}

#[tokio::test]
async fn the_input_ends_with_its_first_client() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", "cat; echo end");
    (spec.stdin, spec.stdin_once) = (true, true);
    sandbox.start_container(spec).await.unwrap();
    let listener = sandbox.attach("main", false).await.unwrap();
    let first = sandbox.attach("main", true).await.unwrap();
    let second = sandbox.attach("main", true).await.unwrap();
    assert!(listener.stdin.is_none() && first.stdin.is_some() && second.stdin.is_none());
    rustix::io::write(first.stdin.as_ref().unwrap(), b"from the first\n").unwrap();
    drop(first);
    assert_eq!(code(&exit_of(&mut events, "main").await.state), (0, 0));
    assert_eq!(fixture.output("main", "stdout"), "from the first\nend\n");
    // With a daemon that dies meanwhile it is the same.
    let mut spec = fixture.script("again", "cat; echo end");
    (spec.stdin, spec.stdin_once) = (true, true);
    sandbox.start_container(spec).await.unwrap();
    drop(sandbox.attach("again", true).await.unwrap());
    exit_of(&mut events, "again").await;
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_container_without_a_log_runs_as_any_other() {
    let fixture = Fixture::new();
    let (sandbox, mut events) = fixture.sandbox().await;
    let mut spec = fixture.script("main", "read line; seq 100000; echo oops >&2; exit 3");
    (spec.stdin, spec.log_path) = (true, std::path::PathBuf::new());
    sandbox.start_container(spec).await.unwrap();
    sandbox.reopen_log("main").await.unwrap();
    let client = sandbox.attach("main", true).await.unwrap();
    sandbox.close_stdin("main").await.unwrap();
    drop(client.stdin);
    let output = read_to_end(&client.stdout).await;
    assert!(output.ends_with("99999\n100000\n"), "{}", output.len());
    assert_eq!(code(&exit_of(&mut events, "main").await.state), (3, 0));
    assert!(!fixture.path("logs").exists());
    fixture.finish(sandbox).await;
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_anew_is_told() {
    let fixture = Fixture::new();
    let mut pod = fixture.pod();
    pod.rotate_logs = false;
    let (sandbox, mut events) = Sandbox::create(&fixture.host, pod).await.unwrap();
    sandbox
        .start_container(fixture.script("main", "read line; echo kept"))
        .await
        .unwrap();
    let log = fixture.path("logs/main/0.log");
    exit_of(&mut events, "main").await;
    let mut spec = fixture.script("main", "read line; echo kept");
    (spec.stdin, spec.attempt, spec.id) = (true, 1, "another".to_owned());
    spec.rootfs.work = fixture.path("state/main/1/work");
    spec.rootfs.upper = fixture.path("state/main/1/upper");
    sandbox.start_container(spec).await.unwrap();
    fs_err::remove_file(&log).unwrap();
    fs_err::create_dir(&log).unwrap();
    let error = sandbox.reopen_log("main").await.unwrap_err();
    assert!(error.to_string().contains("open the log"), "{error}");
    fs_err::remove_dir(&log).unwrap();
    sandbox.reopen_log("main").await.unwrap();
    sandbox.close_stdin("main").await.unwrap();
    exit_of(&mut events, "main").await;
    assert_eq!(fixture.output("main", "stdout"), "kept\n");
    fixture.finish(sandbox).await;
}
