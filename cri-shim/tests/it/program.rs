//! The program alone: no auraed, no root.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use cri_api::v1 as cri;
use tempfile::TempDir;
use tonic::Code;

use crate::node::{Cri, PATIENCE};

const PROGRAM: &str = env!("CARGO_BIN_EXE_cri-shim");

/// A shim in a directory of its own. Dropping it kills it.
struct Shim {
    directory: TempDir,
    child: Child,
}

impl Shim {
    fn socket(directory: &Path) -> PathBuf {
        directory.join("cri.sock")
    }

    fn command(directory: &Path) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--listen")
            .arg(format!("unix://{}", Self::socket(directory).display()))
            .arg("--aurae-socket")
            .arg(directory.join("aurae.sock"))
            .arg("--aurae-identity")
            .arg(directory.join("identity"))
            .stdin(Stdio::null())
            .env_remove("NOTIFY_SOCKET");
        command
    }

    /// Starts it, and returns when it said that it serves.
    fn start(directory: TempDir) -> Self {
        let notify = directory.path().join("notify.sock");
        let _ = fs_err::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let log = fs_err::File::create(directory.path().join("log")).unwrap();
        let child = Self::command(directory.path())
            .env("NOTIFY_SOCKET", &notify)
            .stderr(log.into_file())
            .spawn()
            .unwrap();
        let mut message = [0; 64];
        let count = socket.recv(&mut message).unwrap();
        assert_eq!(message.get(..count), Some(&b"READY=1"[..]));
        Self { directory, child }
    }

    fn cri(&self) -> Cri {
        Cri::of(&Self::socket(self.directory.path()))
    }

    fn signal(&mut self, signal: rustix::process::Signal) -> Option<i32> {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[test]
fn it_says_what_it_is_and_how_to_use_it() {
    let (output, text) = run(&["--version"]);
    assert!(output.status.success());
    assert_eq!(text.trim(), format!("cri-shim {}", env!("CARGO_PKG_VERSION")));
    let (_, help) = run(&["--help"]);
    for part in [
        "--listen",
        "--streaming-address",
        "Signals:",
        "Exit codes:",
        "Examples:",
    ] {
        assert!(help.contains(part), "{part} in {help}");
    }
    let (output, script) = run(&["completion", "bash"]);
    assert!(output.status.success() && script.contains("--aurae-identity"));
    let (output, _) = run(&["--listen", "tcp://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn without_auraed_it_is_not_ready_and_says_why() {
    let shim = Shim::start(tempfile::tempdir().unwrap());
    let mut cri = shim.cri();
    let status = cri
        .runtime
        .status(cri::StatusRequest { verbose: true })
        .await
        .unwrap();
    let conditions = status.into_inner().status.unwrap().conditions;
    let names: Vec<_> = conditions.iter().map(|one| one.r#type.as_str()).collect();
    assert_eq!(names, ["RuntimeReady", "NetworkReady"]);
    for condition in conditions {
        assert!(!condition.status);
        assert_eq!(condition.reason, "AuraedUnavailable");
        assert!(condition.message.contains("identity"), "{}", condition.message);
    }
    let failed = cri
        .runtime
        .list_pod_sandbox(cri::ListPodSandboxRequest::default())
        .await
        .unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable);
    let version = cri
        .runtime
        .version(cri::VersionRequest::default())
        .await
        .unwrap_err();
    assert_eq!(version.code(), Code::Unavailable);
    let config = cri
        .runtime
        .runtime_config(cri::RuntimeConfigRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(config.linux.unwrap().cgroup_driver(), cri::CgroupDriver::Cgroupfs);
}

#[test]
fn two_shims_do_not_serve_one_socket() {
    let shim = Shim::start(tempfile::tempdir().unwrap());
    let output = Shim::command(shim.directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("is in use by another process"), "{told}");
}

#[test]
fn a_killed_shims_socket_is_taken_over_and_a_stopped_ones_is_gone() {
    let mut first = Shim::start(tempfile::tempdir().unwrap());
    assert_eq!(first.signal(rustix::process::Signal::KILL), None);
    let socket = Shim::socket(first.directory.path());
    assert!(socket.exists());
    let directory = std::mem::replace(&mut first.directory, tempfile::tempdir().unwrap());
    let mut second = Shim::start(directory);
    assert_eq!(second.signal(rustix::process::Signal::TERM), Some(0));
    assert!(!socket.exists());
}

#[tokio::test]
async fn streams_that_never_end_do_not_keep_it_from_ending() {
    let mut shim = Shim::start(tempfile::tempdir().unwrap());
    let mut cri = shim.cri();
    // auraed is not there, so the stream stays open and empty.
    let mut events = cri
        .runtime
        .get_container_events(cri::GetEventsRequest {})
        .await
        .unwrap()
        .into_inner();
    // On another thread: the client has to answer meanwhile.
    let ending = tokio::task::spawn_blocking(move || {
        let ended = shim.signal(rustix::process::Signal::TERM);
        (
            ended,
            fs_err::read_to_string(shim.directory.path().join("log")).unwrap(),
        )
    });
    let (ended, log) = ending.await.unwrap();
    assert_eq!(ended, Some(0));
    // It does not wait for the time to be over that calls are given.
    assert!(log.contains("stopping") && !log.contains("under way"), "{log}");
    assert!(!matches!(events.message().await, Ok(Some(_))));
}
