//! `make run`: a node without a cluster on this machine, in a minute. auraed and kubelet-bridge are started in the
//! background with a directory of manifests, an image is made of Debian's static busybox and imported, and
//! examples/hello.yaml is put into the directory. A second run replaces the first; `--stop` takes all of it away.

mod image;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use crate::setup;
use crate::shell::{cargo, output, product, root, run as execute, say};

/// The image of examples/hello.yaml.
const IMAGE: &str = "example.test/busybox:1";
const NOBODY: &str = "nobody";

/// What `run` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Stops the node and removes its pods and files.
    #[arg(long)]
    stop: bool,
}

/// Where the node lives.
struct Place {
    state: PathBuf,
    run: PathBuf,
}

impl Place {
    fn manifests(&self) -> PathBuf {
        self.state.join("manifests")
    }

    fn socket(&self) -> PathBuf {
        self.run.join("aurae.sock")
    }

    fn log(&self, program: &str) -> PathBuf {
        self.state.join(format!("{program}.log"))
    }

    fn pid_file(&self, program: &str) -> PathBuf {
        self.state.join(format!("{program}.pid"))
    }
}

/// Starts or stops the node.
///
/// # Errors
/// No root, or a program says what is wrong.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let place = Place {
        state: "/var/lib/aurae-run".into(),
        run: "/run/aurae-run".into(),
    };
    if options.stop {
        stop(&place)?;
        say("stopped, and nothing is left");
        return Ok(ExitCode::SUCCESS);
    }
    let started = Instant::now();
    let busybox = setup::busybox()?;
    say("run: building auraed, aurae and kubelet-bridge (minutes the first time)");
    execute(cargo().args([
        "build",
        "--locked",
        "-p",
        "auraed",
        "-p",
        "auraed-cli",
        "-p",
        "kubelet-bridge",
    ]))?;
    stop(&place)?;
    start(&place)?;
    let archive = place.state.join("busybox.tar");
    image::archive(&busybox, IMAGE, &archive)?;
    aurae(&place, &["image", "import", &archive.display().to_string()])?;
    fs_err::copy(
        root().join("examples/hello.yaml"),
        place.manifests().join("hello.yaml"),
    )?;
    let (name, address) = running(&place)?;
    show(&place, &name, &address, started);
    Ok(ExitCode::SUCCESS)
}

fn start(place: &Place) -> anyhow::Result<()> {
    for directory in [
        place.state.clone(),
        place.run.clone(),
        place.manifests(),
        place.state.join("bridge/pki"),
        place.state.join("bin"),
    ] {
        fs_err::create_dir_all(directory)?;
    }
    // Where an ordinary user may execute it, and where a build does not replace it under its feet.
    for program in ["auraed", "aurae", "kubelet-bridge"] {
        fs_err::copy(product(program), place.state.join("bin").join(program))?;
    }
    fs_err::write(place.state.join("auraed.toml"), configuration(place))?;
    spawn(place, "auraed", &mut daemon(place))?;
    wait(place, "auraed", "its socket", || {
        Ok(std::os::unix::net::UnixStream::connect(place.socket()).ok())
    })?;
    let identity = place.state.join("bridge/identity");
    execute(
        daemon(place)
            .args(["identity", "issue", "kubelet-bridge", "--owner", NOBODY, "--out"])
            .arg(&identity),
    )?;
    output(
        Command::new("chown")
            .arg("-R")
            .arg(format!("{NOBODY}:"))
            .arg(place.state.join("bridge")),
    )?;
    let mut bridge = Command::new("setpriv");
    bridge
        .args(["--reuid", NOBODY, "--regid", "nogroup", "--clear-groups", "--"])
        .arg(place.state.join("bin/kubelet-bridge"));
    bridge
        .arg("--pod-manifest-path")
        .arg(place.manifests())
        .arg("--aurae-socket")
        .arg(place.socket());
    bridge
        .arg("--aurae-identity")
        .arg(identity)
        .arg("--cert-dir")
        .arg(place.state.join("bridge/pki"));
    // Beside a kubelet or another bridge of this machine.
    bridge.args(["--address", "127.0.0.1", "--port", "0", "--healthz-port", "0"]);
    spawn(place, "kubelet-bridge", &mut bridge)
}

fn daemon(place: &Place) -> Command {
    let mut command = Command::new(place.state.join("bin/auraed"));
    command.arg("--config").arg(place.state.join("auraed.toml"));
    command
}

fn configuration(place: &Place) -> String {
    format!(
        "state_dir = \"{state}/state\"
run_dir = \"{run}\"
log_dir = \"{state}/log\"
cgroup_root = \"aurae-run\"

[network]
bridge = \"aurae-run0\"
subnet = \"10.87.0.0/16\"
table = \"aurae-run\"
",
        state = place.state.display(),
        run = place.run.display()
    )
}

/// Starts a daemon in the background, out of this terminal's group.
fn spawn(place: &Place, name: &str, command: &mut Command) -> anyhow::Result<()> {
    let log = fs_err::File::create(place.log(name))?.into_file();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    fs_err::write(place.pid_file(name), child.id().to_string())?;
    Ok(())
}

fn wait<T>(
    place: &Place,
    program: &str,
    what: &str,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() > deadline || !alive(place, program) {
            let log = fs_err::read_to_string(place.log(program)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            bail!(
                "{program}: {what} does not come; the end of {}:\n{}",
                place.log(program).display(),
                lines[lines.len().saturating_sub(15)..].join("\n")
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The pid that a daemon of an earlier run has, if it still is that daemon.
fn pid(place: &Place, program: &str) -> Option<String> {
    let pid = fs_err::read_to_string(place.pid_file(program)).ok()?;
    let command = fs_err::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    command
        .contains(&place.state.join("bin").join(program).display().to_string())
        .then_some(pid)
}

fn alive(place: &Place, program: &str) -> bool {
    pid(place, program).is_some()
}

/// `aurae`, as the administrator of this node.
fn aurae(place: &Place, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(place.state.join("bin/aurae"));
    command
        .arg("--socket")
        .arg(place.socket())
        .arg("--identity")
        .arg(place.state.join("state/identity/admin"));
    output(command.args(arguments))
}

/// Waits until the pod of the manifest runs, and gives its name and address.
fn running(place: &Place) -> anyhow::Result<(String, String)> {
    wait(place, "kubelet-bridge", "the pod of examples/hello.yaml", || {
        let table = aurae(place, &["ps"])?;
        let line = table
            .lines()
            .find(|line| line.contains(" hello") && line.contains("Running"));
        let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
        // A pod of a manifest on disk carries the node's name behind its own.
        let name = words.get(1);
        let address = words.iter().find(|word| word.starts_with("10.87."));
        Ok(name
            .zip(address)
            .map(|(name, address)| ((*name).to_owned(), (*address).to_owned())))
    })
}

fn show(place: &Place, name: &str, address: &str, started: Instant) {
    let state = place.state.display();
    say(format_args!("\n{}", aurae(place, &["ps"]).unwrap_or_default()));
    say(format_args!(
        "$ aurae logs {name}\n{}",
        aurae(place, &["logs", name]).unwrap_or_default()
    ));
    say(format_args!(
        "A pod runs on this machine, {:.0} s after you asked: no cluster, no containerd, no kubelet. Try:

  curl http://{address}:8080/
  export AURAE_SOCKET={} AURAE_IDENTITY={state}/state/identity/admin PATH={state}/bin:$PATH
  aurae ps
  aurae logs -f {name}
  aurae exec -it {name} -- sh
  aurae why {name}
  cp your-pod.yaml {state}/manifests/     its pods run as long as the file is there

  make stop                               takes all of it away
  logs of the daemons: {state}/auraed.log, {state}/kubelet-bridge.log",
        started.elapsed().as_secs_f64(),
        place.socket().display(),
    ));
}

/// Takes away what an earlier run left: daemons, pods, network, files.
fn stop(place: &Place) -> anyhow::Result<()> {
    end(place, "kubelet-bridge")?;
    end(place, "auraed")?;
    if place.state.join("bin/auraed").exists() && place.state.join("auraed.toml").exists() {
        execute(daemon(place).args(["cleanup", "--grace", "2", "--everything"]))?;
    }
    for directory in [&place.state, &place.run] {
        if directory.exists() {
            fs_err::remove_dir_all(directory)?;
        }
    }
    Ok(())
}

/// By the shell, which every machine has; the program `kill` not.
fn signal(name: &str, pid: &str) {
    // It may have ended by itself since; who asks for its end looks for that.
    let _ = output(Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, pid]));
}

fn end(place: &Place, program: &str) -> anyhow::Result<()> {
    let Some(pid) = pid(place, program) else {
        return Ok(());
    };
    signal("TERM", &pid);
    let deadline = Instant::now() + Duration::from_secs(20);
    while alive(place, program) {
        if Instant::now() > deadline {
            signal("KILL", &pid);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
