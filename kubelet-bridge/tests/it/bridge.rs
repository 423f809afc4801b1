//! Starts the real program with files of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with what a bridge needs, removed with the value.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Home {
        Home(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs_err::write(&path, content).expect("written");
        path
    }

    /// A kubeconfig with a token, for a server where nobody listens.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.write("kubeconfig", &kubeconfig("token: abc"))
    }

    /// A kubeconfig with a certificate of this name.
    pub(crate) fn kubeconfig_of(&self, name: &str) -> PathBuf {
        let (certificate, key) = self.certificates("client", name);
        let user = format!(
            "client-certificate: {}\n      client-key: {}",
            shown(&certificate),
            shown(&key)
        );
        self.write("kubeconfig", &kubeconfig(&user))
    }

    /// An identity that is well-formed; no daemon knows it.
    pub(crate) fn identity(&self) -> PathBuf {
        self.certificates("identity", "bridge");
        self.path("identity")
    }

    fn certificates(&self, directory: &str, name: &str) -> (PathBuf, PathBuf) {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().expect("a key");
        let authority_certificate = authority.self_signed(&authority_key).expect("signed");
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let leaf = leaf
            .signed_by(&key, &Issuer::new(authority, authority_key))
            .expect("signed");
        self.write(&format!("{directory}/ca.crt"), &authority_certificate.pem());
        (
            self.write(&format!("{directory}/tls.crt"), &leaf.pem()),
            self.write(&format!("{directory}/tls.key"), &key.serialize_pem()),
        )
    }

    /// The program with what every case wants: its own directories, and no fixed port.
    pub(crate) fn bridge(&self) -> Command {
        self.bridge_at(0)
    }

    /// The same, with the kubelet API on this port.
    pub(crate) fn bridge_at(&self, port: u16) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubelet-bridge"));
        command
            .env_remove("RUST_LOG")
            .args(["--hostname-override", "node-a", "--address", "127.0.0.1"])
            .args(["--healthz-port", "0", "--port", &port.to_string()])
            .arg("--cert-dir")
            .arg(self.path("pki"))
            .arg("--aurae-socket")
            .arg(self.path("aurae.sock"))
            .arg("--aurae-identity")
            .arg(self.path("identity"));
        command
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn kubeconfig(user: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: c
clusters:
  - name: c
    cluster:
      server: https://127.0.0.1:1
      insecure-skip-tls-verify: true
users:
  - name: u
    user:
      {user}
contexts:
  - name: c
    context: {{ cluster: c, user: u }}
"
    )
}

/// Runs a program that must fail; its words.
pub(crate) fn refusal(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().expect("it runs");
    let words = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "it should fail, but said: {words}");
    words
}

/// A program that runs, ended with the value.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = child.stderr.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running { child, lines }
    }

    /// Waits until it says this.
    pub(crate) fn says(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => heard.push(line),
                Err(_) => panic!("it never said {words:?}, but: {heard:#?}"),
            }
        }
    }

    /// Asks it to end; true where it ended well.
    pub(crate) fn end(mut self) -> bool {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a signal");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status.success();
            }
            std::thread::yield_now();
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
