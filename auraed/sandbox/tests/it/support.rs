//! A host in a temporary directory, a root file system of busybox, and pods that leave nothing behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use auraed_sandbox::cgroup::{Limits, Placement, Qos};
use auraed_sandbox::{
    Capabilities, ContainerRun, ContainerSpec, Events, Host, HostConfig, NetworkNamespace, PidMode, Rootfs,
    RunState, Sandbox, SandboxEvent, SandboxSpec, Seccomp, User, default_masked_paths,
    default_read_only_paths,
};
use tempfile::TempDir;

/// Longer than anything here takes, on the slowest kernel.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const APPLETS: [&str; 38] = [
    "sh", "cat", "echo", "ls", "sleep", "id", "mount", "umount", "unshare", "hostname", "touch", "mkdir",
    "readlink", "grep", "seq", "stat", "true", "false", "kill", "head", "tail", "tty", "stty", "dd", "ps",
    "env", "pwd", "nproc", "test", "wc", "ln", "rm", "mknod", "chroot", "ip", "printf", "tr", "chmod",
];

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// One daemon's worth of directories.
pub(crate) struct Fixture {
    pub(crate) host: Host,
    pub(crate) directory: TempDir,
    config: HostConfig,
    number: u32,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with_logs(10 << 20, 5)
    }

    pub(crate) fn with_logs(log_max_bytes: u64, log_max_files: u32) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make namespaces and cgroups: run them as root"
        );
        let directory = tempfile::tempdir().unwrap();
        make_root(&directory.path().join("state/root"));
        symlink("state/root", directory.path().join("root")).unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let config = HostConfig {
            run_dir: directory.path().join("run"),
            state_dir: directory.path().join("state"),
            cgroup_root: format!("aurae-test-{}-{number}", std::process::id()),
            log_max_bytes,
            log_max_files,
        };
        let host = Host::new(config.clone()).unwrap();
        Self {
            host,
            directory,
            config,
            number,
        }
    }

    /// As a daemon that was started again.
    pub(crate) fn another_host(&self) -> Host {
        Host::new(self.config.clone()).unwrap()
    }

    pub(crate) fn id(&self) -> String {
        format!("pod-{}-{}", std::process::id(), self.number)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A pod with a network namespace of its own and no wish.
    pub(crate) fn pod(&self) -> SandboxSpec {
        SandboxSpec {
            id: self.id(),
            hostname: "pod-host".to_owned(),
            network: NetworkNamespace::Namespace(network_namespace()),
            host_pid: false,
            host_ipc: false,
            share_pid: false,
            sysctls: Vec::new(),
            cgroup: Limits::default(),
            placement: Placement::Qos(Qos::BestEffort),
            tmpfs: Vec::new(),
            user_namespace: None,
            rotate_logs: true,
        }
    }

    pub(crate) async fn sandbox(&self) -> (Sandbox, Events) {
        Sandbox::create(&self.host, self.pod()).await.unwrap()
    }

    /// A container that runs a shell script.
    pub(crate) fn script(&self, name: &str, script: &str) -> ContainerSpec {
        self.container(name, &["/bin/sh", "-c", script])
    }

    pub(crate) fn container(&self, name: &str, args: &[&str]) -> ContainerSpec {
        let own = self.path("state").join(name).join("0");
        ContainerSpec {
            name: name.to_owned(),
            attempt: 0,
            id: format!("id-of-{name}"),
            rootfs: Rootfs {
                lowers: vec![self.path("state/root")],
                upper: own.join("upper"),
                work: own.join("work"),
                read_only: false,
            },
            mounts: Vec::new(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: vec!["PATH=/bin".to_owned()],
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
            log_path: self.path("logs").join(name).join("0.log"),
            exit_path: own.join("exit.json"),
            cgroup: Limits::default(),
            oom_score_adj: 0,
        }
    }

    /// What a container has written to a stream, as its log has it.
    pub(crate) fn output(&self, name: &str, stream: &str) -> String {
        let log = fs_err::read_to_string(self.path("logs").join(name).join("0.log")).unwrap();
        let lines = log.lines().map(|line| line.splitn(4, ' ').collect::<Vec<_>>());
        lines
            .filter(|line| line[1] == stream)
            .map(|line| format!("{}\n", line[3]))
            .collect()
    }

    /// Runs a script in a pod of its own and returns what it printed.
    pub(crate) async fn run(
        &self,
        adjust: impl FnOnce(&mut ContainerSpec),
        script: &str,
    ) -> (String, RunState) {
        let (sandbox, mut events) = self.sandbox().await;
        let mut spec = self.script("main", script);
        adjust(&mut spec);
        sandbox.start_container(spec).await.unwrap();
        let run = exit_of(&mut events, "main").await;
        self.finish(sandbox).await;
        (self.output("main", "stdout"), run.state)
    }

    /// Destroys a sandbox and sees that nothing of it is left.
    pub(crate) async fn finish(&self, sandbox: Sandbox) {
        let (init, id) = (sandbox.init_pid(), sandbox.id().to_owned());
        sandbox.destroy().await.unwrap();
        assert!(
            !Path::new(&format!("/proc/{init}")).exists(),
            "the pod init is left"
        );
        assert!(
            !self.host.cgroups().pods().iter().any(|(_, pod)| *pod == id),
            "a cgroup is left"
        );
        assert!(
            !self.host.pod_directory(&id).exists(),
            "the run directory is left"
        );
        let own = self.directory.path().display().to_string();
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&own), "a mount is left");
    }
}

impl Drop for Fixture {
    /// Also after a failed test nothing may stay.
    fn drop(&mut self) {
        let (host, id) = (self.host.clone(), self.id());
        let clean = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                if let Ok(Some((sandbox, ..))) = Sandbox::adopt(&host, &id).await {
                    let _ = sandbox.destroy().await;
                }
                let _ = host.cgroups().remove().await;
            });
        };
        let _ = std::thread::spawn(clean).join();
    }
}

/// A root file system with one program of many names.
fn make_root(root: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let busybox = std::env::split_paths(&path)
        .map(|directory| directory.join("busybox"))
        .find(|path| is_static(path));
    let busybox = busybox.expect("these tests need a static busybox: apt-get install busybox-static");
    for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        fs_err::create_dir_all(root.join(directory)).unwrap();
    }
    fs_err::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n";
    fs_err::write(root.join("etc/passwd"), passwd).unwrap();
    fs_err::write(
        root.join("etc/group"),
        "root:x:0:\nweb:x:1001:\nlogs:x:2000:web\n",
    )
    .unwrap();
}

/// A dynamic one, which asks for an interpreter (PT_INTERP), would not find its libraries in the container.
fn is_static(path: &Path) -> bool {
    const PROGRAM_HEADERS: usize = 64;
    const HEADER_BYTES: usize = 56;
    const INTERPRETER: [u8; 4] = [3, 0, 0, 0];
    let Ok(program) = fs_err::read(path) else {
        return false;
    };
    let count = program.get(56).copied().unwrap_or_default();
    (0..usize::from(count)).all(|number| {
        let start = PROGRAM_HEADERS + number * HEADER_BYTES;
        program
            .get(start..start + 4)
            .is_some_and(|kind| kind != INTERPRETER)
    })
}

/// The directories of a group that are there, in whichever hierarchy.
pub(crate) fn cgroup_directories(path: &str) -> Vec<PathBuf> {
    let relative = path.trim_start_matches('/');
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4));
    points
        .map(|point| Path::new(point).join(relative))
        .filter(|directory| directory.is_dir())
        .collect()
}

/// What the first file of these names holds in a group of any hierarchy.
pub(crate) fn cgroup_value(path: &str, files: &[&str]) -> Option<String> {
    let directories = cgroup_directories(path);
    let paths = files
        .iter()
        .flat_map(|file| directories.iter().map(move |directory| directory.join(file)));
    let text = paths
        .into_iter()
        .find_map(|path| fs_err::read_to_string(path).ok())?;
    Some(text.trim().to_owned())
}

/// A network namespace that nothing else holds.
pub(crate) fn network_namespace() -> OwnedFd {
    let own = fs_err::read_link("/proc/self/ns/net").unwrap();
    let mut holder = Command::new("unshare")
        .args(["--net", "cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/ns/net", holder.id());
    wait_until(|| fs_err::read_link(&path).is_ok_and(|other| other != own));
    let namespace = fs_err::File::open(&path).unwrap().into_parts().0.into();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    namespace
}

/// Waits for something that comes without an event.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited too long");
        std::thread::yield_now();
    }
}

/// Reads a pipe to its end, or a terminal until its last user has closed it.
pub(crate) async fn read_to_end(stream: &OwnedFd) -> String {
    let mut text = String::new();
    let mut chunk = [0; 4096];
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < PATIENCE, "{text}");
        match rustix::io::read(stream, &mut chunk) {
            Ok(0) | Err(rustix::io::Errno::IO) => return text,
            Ok(count) => text.push_str(std::str::from_utf8(&chunk[..count]).unwrap()),
            Err(rustix::io::Errno::AGAIN) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The next event, which must come.
pub(crate) async fn event(events: &mut Events) -> SandboxEvent {
    tokio::time::timeout(PATIENCE, events.next())
        .await
        .expect("no event came")
        .expect("the pod init ended")
}

/// The end of a container.
pub(crate) async fn exit_of(events: &mut Events, name: &str) -> ContainerRun {
    loop {
        match event(events).await {
            SandboxEvent::Exited(run) if run.name == name => return run,
            _ => {}
        }
    }
}

/// Exit code and signal of a run that is over.
pub(crate) fn code(state: &RunState) -> (i32, i32) {
    match state {
        RunState::Exited {
            exit_code, signal, ..
        } => (*exit_code, *signal),
        RunState::Running { .. } => panic!("it is still running"),
    }
}
