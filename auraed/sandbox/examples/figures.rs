//! What sandboxes and containers cost here: `cargo run --release -p auraed-sandbox --example figures [ROUNDS]`, as root.
#![expect(clippy::print_stdout, reason = "figures")]
#![expect(clippy::unwrap_used, reason = "a run that cannot go on has failed")]

use std::path::Path;
use std::time::{Duration, Instant};

use auraed_sandbox::cgroup::{Limits, Placement, Qos};
use auraed_sandbox::network::namespace;
use auraed_sandbox::{
    Capabilities, ContainerSpec, ExecSpec, Host, HostConfig, IdMapping, NetworkNamespace, PidMode, Rootfs,
    Sandbox, SandboxEvent, SandboxSpec, Seccomp, User, UserNamespace, default_masked_paths,
    default_read_only_paths,
};

#[derive(Default)]
struct Times {
    create: Vec<Duration>,
    start: Vec<Duration>,
    users: Vec<Duration>,
    users_start: Vec<Duration>,
    run: Vec<Duration>,
    exec: Vec<Duration>,
    destroy: Vec<Duration>,
    memory: Vec<u64>,
}

#[tokio::main]
async fn main() {
    let rounds = std::env::args()
        .nth(1)
        .map_or(100, |rounds| rounds.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state/root");
    for name in ["bin", "proc", "sys", "dev", "etc"] {
        fs_err::create_dir_all(root.join(name)).unwrap();
    }
    let path = std::env::var_os("PATH").unwrap();
    let busybox = std::env::split_paths(&path).map(|directory| directory.join("busybox"));
    let busybox = busybox.into_iter().find(|path| path.exists());
    fs_err::copy(
        busybox.expect("a static busybox in PATH"),
        root.join("bin/busybox"),
    )
    .unwrap();
    for name in ["true", "sleep"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    let host = Host::new(HostConfig {
        run_dir: directory.path().join("run"),
        state_dir: directory.path().join("state"),
        cgroup_root: format!("aurae-figures-{}", std::process::id()),
        log_max_bytes: 10 << 20,
        log_max_files: 5,
    })
    .unwrap();
    let mut times = Times::default();
    for round in 0..rounds {
        one(&host, directory.path(), round, &mut times).await;
        one_with_users(&host, directory.path(), round, &mut times).await;
    }
    host.cgroups().remove().await.unwrap();
    for (name, mut values) in [
        ("create sandbox", times.create),
        ("start container", times.start),
        ("create, users", times.users),
        ("start, users", times.users_start),
        ("run `true`", times.run),
        ("exec `true`", times.exec),
        ("destroy", times.destroy),
    ] {
        values.sort();
        if values.is_empty() {
            continue;
        }
        let at = |percent: usize| values[(values.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        println!(
            "{name:16} least {:6.2} ms   p50 {:6.2} ms   p90 {:6.2} ms",
            at(0),
            at(50),
            at(90)
        );
    }
    times.memory.sort();
    println!(
        "pod init         p50 {} KiB of its own",
        times.memory[times.memory.len() / 2]
    );
}

fn pod(id: String, user_namespace: Option<UserNamespace>, network: NetworkNamespace) -> SandboxSpec {
    SandboxSpec {
        id,
        hostname: "pod".to_owned(),
        network,
        host_pid: false,
        host_ipc: false,
        share_pid: false,
        sysctls: Vec::new(),
        cgroup: Limits::default(),
        placement: Placement::Qos(Qos::Burstable),
        tmpfs: Vec::new(),
        user_namespace,
        rotate_logs: true,
    }
}

/// The same in a user namespace, where the machine can do that; with a network namespace that belongs to it.
async fn one_with_users(host: &Host, directory: &Path, round: u32, times: &mut Times) {
    if !host.user_namespaces_supported() {
        return;
    }
    let begin = Instant::now();
    let range = IdMapping {
        host_id: 100_000,
        container_id: 0,
        length: 65_536,
    };
    let users = UserNamespace::create(&[range], &[range]).unwrap();
    let network = NetworkNamespace::Namespace(namespace(Some(&users)).unwrap());
    let spec = pod(format!("users{round}"), Some(users), network);
    let (sandbox, mut events) = Sandbox::create(host, spec).await.unwrap();
    times.users.push(begin.elapsed());
    let begin = Instant::now();
    sandbox
        .start_container(container(directory, round, "users", &["true"]))
        .await
        .unwrap();
    times.users_start.push(begin.elapsed());
    while !matches!(events.next().await.unwrap(), SandboxEvent::Exited(_)) {}
    sandbox.destroy().await.unwrap();
}

async fn one(host: &Host, directory: &Path, round: u32, times: &mut Times) {
    let begin = Instant::now();
    let pod = pod(format!("pod{round}"), None, NetworkNamespace::Host);
    let (sandbox, mut events) = Sandbox::create(host, pod).await.unwrap();
    times.create.push(begin.elapsed());

    let begin = Instant::now();
    sandbox
        .start_container(container(directory, round, "main", &["true"]))
        .await
        .unwrap();
    times.start.push(begin.elapsed());
    while !matches!(events.next().await.unwrap(), SandboxEvent::Exited(_)) {}
    times.run.push(begin.elapsed());

    sandbox
        .start_container(container(directory, round, "long", &["sleep", "1000"]))
        .await
        .unwrap();
    let begin = Instant::now();
    let spec = ExecSpec {
        args: vec!["true".to_owned()],
        ..ExecSpec::default()
    };
    sandbox.exec("long", spec).await.unwrap().wait().await.unwrap();
    times.exec.push(begin.elapsed());

    times.memory.push(private_kib(sandbox.init_pid()));
    let begin = Instant::now();
    sandbox.destroy().await.unwrap();
    times.destroy.push(begin.elapsed());
}

fn container(directory: &Path, round: u32, name: &str, args: &[&str]) -> ContainerSpec {
    let own = directory.join(format!("state/pods/pod{round}/containers/{name}/0"));
    ContainerSpec {
        name: name.to_owned(),
        attempt: 0,
        id: format!("{name}{round}"),
        rootfs: Rootfs {
            lowers: vec![directory.join("state/root")],
            upper: own.join("upper"),
            work: own.join("work"),
            read_only: false,
        },
        mounts: Vec::new(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: Vec::new(),
        cwd: String::new(),
        user: User::default(),
        capabilities: Capabilities::default(),
        ambient: Capabilities::NONE,
        no_new_privileges: false,
        seccomp: Seccomp::Default,
        apparmor: None,
        privileged: false,
        devices: Vec::new(),
        masked_paths: default_masked_paths(),
        read_only_paths: default_read_only_paths(),
        tty: false,
        stdin: false,
        stdin_once: false,
        pid: PidMode::Sandbox,
        log_path: directory.join(format!("logs/pod{round}/{name}/0.log")),
        exit_path: own.join("exit.json"),
        cgroup: Limits {
            cpu_shares: Some(100),
            memory_bytes: Some(128 << 20),
            ..Limits::default()
        },
        oom_score_adj: 500,
    }
}

/// What the process has for itself. Its text is in sealed memory, which all pods share.
fn private_kib(pid: u32) -> u64 {
    let memory = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = memory
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
