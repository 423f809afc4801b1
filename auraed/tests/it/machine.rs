//! A machine for one test: directories, a network namespace, a cgroup root, and daemons on it.

use auraed_client::{Client, ClientConfig};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixDatagram;

/// How long anything may take; a machine under load is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The daemon's program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_auraed");

/// A machine for one test.
pub(crate) struct Machine {
    directory: TempDir,
    /// Its network namespace: held by a process that ends when its input closes, also by this one's death.
    network: Child,
    /// Unique among all machines.
    name: String,
    daemon: Option<tokio::process::Child>,
    finished: bool,
}

impl Machine {
    /// `None`, with a message, where the test cannot run.
    pub(crate) fn new(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            skipped(test, "needs root");
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut network = Command::new("unshare")
            .args([
                "--net",
                "--",
                "sh",
                "-c",
                "ip link set lo up && echo ready && exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        network.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        Some(Self {
            directory: tempfile::Builder::new()
                .prefix("auraed-")
                .tempdir_in("/tmp")
                .unwrap(),
            network,
            name: format!("auraed-it-{}-{number}", std::process::id()),
            daemon: None,
            finished: false,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command in the machine's network namespace.
    pub(crate) fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.network.id()))
            .arg("--")
            .arg(program);
        command
    }

    /// The daemon's program with all that makes it this machine's.
    pub(crate) fn auraed(&self) -> Command {
        let mut command = self.inside(PROGRAM);
        command.args(self.flags());
        command
    }

    pub(crate) fn flags(&self) -> Vec<String> {
        let directory = |name: &str| self.path(name).display().to_string();
        let config = self.path("auraed.toml");
        if !config.exists() {
            fs_err::write(&config, "").unwrap();
        }
        [
            ("--config", config.display().to_string()),
            ("--state-dir", directory("state")),
            ("--run-dir", directory("run")),
            ("--log-dir", directory("log")),
            ("--cgroup-root", self.name.clone()),
            ("--bridge", "aurae-it".into()),
            ("--table", "aurae-it".into()),
            // The machine's own would count otherwise.
            ("--cni-config-dir", directory("net.d")),
            ("--log-level", "auraed=debug,auraed_sandbox=debug,info".into()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        let socket = self.path("notify.sock");
        let _ = fs_err::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).unwrap();
        let log = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("auraed.log"))
            .unwrap();
        let mut command = tokio::process::Command::from(self.auraed());
        command
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stderr(log.into_file());
        // A test that fails before the daemon is ready has nobody else to end it.
        let mut daemon = command.kill_on_drop(true).spawn().unwrap();
        let mut message = [0; 64];
        tokio::select! {
            count = notify.recv(&mut message) => assert_eq!(message.get(..count.unwrap()), Some(&b"READY=1"[..])),
            status = daemon.wait() => panic!("the daemon ended: {}\n{}", status.unwrap(), self.log()),
            () = tokio::time::sleep(PATIENCE) => panic!("the daemon is not ready:\n{}", self.log()),
        }
        self.daemon = Some(daemon);
    }

    /// Sends the daemon a signal and waits for its end; answers its exit code.
    pub(crate) async fn signal(&mut self, signal: rustix::process::Signal) -> Option<i32> {
        let mut daemon = self.daemon.take().unwrap();
        let process = rustix::process::Pid::from_raw(daemon.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
        let ended = tokio::time::timeout(PATIENCE, daemon.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("the daemon does not end:\n{}", self.log()))
            .unwrap()
            .code()
    }

    /// Ends the daemon in order.
    pub(crate) async fn stop(&mut self) {
        assert_eq!(
            self.signal(rustix::process::Signal::TERM).await,
            Some(0),
            "{}",
            self.log()
        );
    }

    /// Ends the daemon as a crash does.
    pub(crate) async fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL).await;
    }

    pub(crate) fn process(&self) -> u32 {
        self.daemon.as_ref().unwrap().id().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs_err::read_to_string(self.path("auraed.log")).unwrap_or_default()
    }

    /// Waits until some file below a directory holds a text: what happens while no daemon runs.
    pub(crate) async fn until_file_contains(&self, name: &str, wanted: &str) {
        let waiting = async {
            while !contains(&self.path(name), wanted) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        ClientConfig {
            socket: self.path("run/aurae.sock"),
            identity: self.path("state/identity/admin"),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.client_config()).await.unwrap()
    }

    /// Runs `auraed` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.auraed()
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Stops the daemon, cleans up, and makes sure that nothing is left.
    pub(crate) async fn finish(mut self) {
        if self.daemon.is_some() {
            self.stop().await;
        }
        let output = self.run(&["cleanup", "--grace", "0", "--everything"]);
        self.finished = true;
        assert!(
            output.status.success(),
            "{}\n{}",
            text(&output.stderr),
            self.log()
        );
        assert_eq!(
            self.leftovers(),
            Vec::<String>::new(),
            "{}\n{}",
            text(&output.stderr),
            self.log()
        );
    }

    /// Everything of this machine that is still there.
    fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for name in ["state", "run", "log"] {
            found.extend(self.path(name).exists().then(|| name.to_owned()));
        }
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.directory.path().display().to_string();
        found.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&own))
                .map(str::to_owned),
        );
        let hierarchies = fs_err::read_dir("/sys/fs/cgroup")
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        let roots = hierarchies
            .chain([PathBuf::from("/sys/fs/cgroup")])
            .map(|path| path.join(&self.name));
        found.extend(
            roots
                .filter(|root| root.exists())
                .map(|root| root.display().to_string()),
        );
        let links = self.inside("ip").args(["-o", "link"]).output().unwrap();
        found.extend(
            text(&links.stdout)
                .lines()
                .filter(|line| !line.contains(": lo:"))
                .map(str::to_owned),
        );
        found.extend(processes(Path::new(&own)));
        found
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !self.finished {
            // The test failed: its message counts, not what can be done about the rest.
            if let Some(mut daemon) = self.daemon.take() {
                let _ = daemon.start_kill();
                while matches!(daemon.try_wait(), Ok(None)) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            let output = self.run(&["cleanup", "--grace", "0", "--everything"]);
            let _ = writeln!(std::io::stderr(), "{}\n{}", self.log(), text(&output.stderr));
        }
        drop(self.network.stdin.take());
        let _ = self.network.wait();
    }
}

/// Says that a test did not run, past the harness, which keeps the words of tests that pass.
pub(crate) fn skipped(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
}

/// Runs a command to its end; one that does not end is ended.
pub(crate) fn limited(command: &mut Command) -> Output {
    let arguments = std::iter::once(command.get_program()).chain(command.get_args());
    let seconds = PATIENCE.as_secs().to_string();
    let mut limited = Command::new("timeout");
    limited
        .args(["--kill-after=5", &seconds])
        .args(arguments)
        .env_remove("NOTIFY_SOCKET");
    limited.stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn contains(path: &Path, wanted: &str) -> bool {
    match fs_err::read_dir(path) {
        Ok(entries) => entries.flatten().any(|entry| contains(&entry.path(), wanted)),
        Err(_) => fs_err::read(path).is_ok_and(|content| text(&content).contains(wanted)),
    }
}

/// Processes that have a file below `directory` open or mapped, or run in it.
fn processes(directory: &Path) -> Vec<String> {
    let below = |path: &Path| fs_err::read_link(path).is_ok_and(|target| target.starts_with(directory));
    let entries = fs_err::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter(|entry| {
        entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.parse::<u32>().is_ok())
    });
    numbers
        .filter(|entry| entry.file_name().to_str() != Some(&std::process::id().to_string()))
        .filter(|entry| {
            let path = entry.path();
            let descriptors = fs_err::read_dir(path.join("fd")).map(|fds| fds.flatten().collect::<Vec<_>>());
            below(&path.join("cwd"))
                || below(&path.join("root"))
                || descriptors.unwrap_or_default().iter().any(|fd| below(&fd.path()))
        })
        .map(|entry| {
            let command = fs_err::read(entry.path().join("cmdline")).unwrap_or_default();
            format!(
                "process {}: {}",
                entry.file_name().display(),
                text(&command).replace('\0', " ")
            )
        })
        .collect()
}
