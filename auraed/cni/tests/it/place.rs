//! A place for one test: plugins, records, and a network namespace that plays the node.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use auraed_cni::{Attachment, NetworkConfig, Runtime, Settings};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Directories of one test.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    /// Debian's tree, and the plugins.
    reference: Option<(PathBuf, PathBuf)>,
}

/// Which of the reference plugins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Debian's, that speak 1.0.0 at most.
    Debian,
    /// Today's, that speak 1.1.0.
    Today,
}

impl Place {
    /// With plugins of the test's own alone.
    pub(crate) fn new() -> Place {
        let directory = tempfile::Builder::new().prefix("aurae-cni-").tempdir().unwrap();
        for name in ["bin", "tools"] {
            fs_err::create_dir(directory.path().join(name)).unwrap();
        }
        Place {
            directory,
            reference: None,
        }
    }

    /// Also with the reference plugins. `None`, with a message, where they or the rights to use them are missing.
    pub(crate) fn with_reference(of: Of, test: &str) -> Option<Place> {
        let skipped = |reason: &str| {
            let required = std::env::var_os("AURAE_E2E_REQUIRED").is_some();
            assert!(!required, "{test}: {reason}");
            let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
        };
        if !rustix::process::geteuid().is_root() {
            skipped("needs root");
            return None;
        }
        let Some((tree, plugins)) = reference_plugins(of) else {
            skipped("needs the reference plugins: cargo xtask setup");
            return None;
        };
        let mut place = Place::new();
        place.write_iptables("iptables", &tree);
        place.reference = Some((tree, plugins));
        Some(place)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A shell script as a plugin; `$here` is this place's directory.
    pub(crate) fn plugin(&self, name: &str, script: &str) {
        let here = self.directory.path().display();
        self.script(
            &self.path("bin").join(name),
            &format!("#!/bin/sh\nhere={here}\n{script}\n"),
        );
    }

    /// A pipe with a name: opening one end waits for the other.
    pub(crate) fn fifo(&self, name: &str) {
        run("mkfifo", &[&self.path(name).display().to_string()]);
    }

    pub(crate) fn settings(&self) -> Settings {
        let reference = self.reference.as_ref().map(|(_, plugins)| plugins.clone());
        Settings {
            plugins: [self.path("bin")].into_iter().chain(reference).collect(),
            records: self.path("cni/results"),
            patience: PATIENCE,
            environment: vec![(
                "PATH".into(),
                // Where a machine has iptables of its own, it is not in these.
                format!("{}:/usr/bin:/bin", self.path("tools").display()).into(),
            )],
        }
    }

    /// As a daemon that was started now.
    pub(crate) fn runtime(&self) -> Runtime {
        Runtime::open(self.settings()).unwrap()
    }

    /// The names of all records.
    pub(crate) fn records(&self) -> Vec<String> {
        names(&self.path("cni/results"))
    }

    /// Not from the start: portmap's CHECK looks for every rule in it, also for IPv4 alone.
    pub(crate) fn add_ip6tables(&self) {
        if let Some((tree, _)) = &self.reference {
            self.write_iptables("ip6tables", tree);
        }
    }

    /// The tree's iptables runs only with the tree's libraries.
    fn write_iptables(&self, name: &str, tree: &Path) {
        let libraries = tree.join("usr/lib/x86_64-linux-gnu");
        let script = format!(
            "#!/bin/sh\nexport LD_LIBRARY_PATH={0}:{1} XTABLES_LIBDIR={0}/xtables\nexec {2} {name} \"$@\"\n",
            libraries.display(),
            tree.join("lib/x86_64-linux-gnu").display(),
            tree.join("usr/sbin/xtables-nft-multi").display(),
        );
        self.script(&self.path("tools").join(name), &script);
    }

    /// By another process: a descriptor of ours that a fork of another test has would make it busy.
    fn script(&self, path: &Path, content: &str) {
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer
            .stdin
            .take()
            .unwrap()
            .write_all(content.as_bytes())
            .unwrap();
        assert!(writer.wait().unwrap().success());
    }
}

/// What `cargo xtask setup` unpacked and built.
fn reference_plugins(of: Of) -> Option<(PathBuf, PathBuf)> {
    let cache = match std::env::var_os("AURAE_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache/aurae"),
    };
    let tree = cache.join("debian/cni");
    let plugins = match of {
        Of::Debian => tree.join("usr/lib/cni"),
        Of::Today => cache.join("bin/cni"),
    };
    let there = tree.is_dir() && plugins.join("bridge").is_file();
    there.then_some((tree, plugins))
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(directory).map(|entries| entries.flatten().collect::<Vec<_>>());
    let mut names: Vec<_> = entries
        .unwrap_or_default()
        .iter()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn list(text: &str) -> NetworkConfig {
    NetworkConfig::parse_list(text.as_bytes()).unwrap()
}

/// A network of plugins without anything to configure.
pub(crate) fn network(version: &str, plugins: &[&str]) -> NetworkConfig {
    let plugins: Vec<_> = plugins
        .iter()
        .map(|plugin| format!(r#"{{"type": "{plugin}"}}"#))
        .collect();
    list(&format!(
        r#"{{"cniVersion": "{version}", "name": "test", "plugins": [{}]}}"#,
        plugins.join(", ")
    ))
}

pub(crate) fn attachment(id: &str) -> Attachment {
    Attachment {
        id: id.to_owned(),
        interface: "eth0".to_owned(),
        namespace: "/nowhere".to_owned(),
        ..Attachment::default()
    }
}

/// What a plugin prints that succeeded.
pub(crate) const OK: &str = r#"echo '{"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.9/24"}]}'"#;

#[expect(
    deprecated,
    reason = "of its unsafe successor's two dangers neither is about NEWNET"
)]
fn unshare() {
    rustix::thread::unshare(UnshareFlags::NEWNET).unwrap();
}

/// Runs a test as a node of its own: a thread in a new network namespace, with a tokio runtime whose threads stay there.
pub(crate) fn on_node<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare();
            run("ip", &["link", "set", "lo", "up"]);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(test());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A container's network namespace.
pub(crate) fn namespace() -> OwnedFd {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare();
            run("ip", &["link", "set", "lo", "up"]);
            let opened = fs_err::File::open("/proc/thread-self/ns/net");
            OwnedFd::from(opened.unwrap().into_file())
        });
        thread.join().unwrap()
    })
}

/// The path that leads others to it.
pub(crate) fn path_of(namespace: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd())
}

/// Runs something on a thread inside of a namespace.
pub(crate) fn within<T: Send>(namespace: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Answers every connection with the address that it came from, until the process ends.
pub(crate) fn serve(port: u16) {
    let listener = TcpListener::bind(("::", port)).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let peer = stream.peer_addr().unwrap().ip().to_canonical();
            let _ = stream.write_all(peer.to_string().as_bytes());
        }
    });
}

/// What the server saw as our address; none if there is no connection.
pub(crate) fn ask(address: IpAddr, port: u16) -> Option<String> {
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::new(address, port), Duration::from_secs(3)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
