//! critest, the acceptance suite of the Container Runtime Interface, over a runtime's socket: for the tests, and by hand as
//! `e2e critest`, there also over containerd, which shows whether a failure is the suite's own.
//!
//! Every runtime has a network namespace and a registry of its own, since the suite binds ports of its node, so two runs
//! may go on beside each other.

mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

pub use report::Report;

use crate::containerd::{self, Containerd, Oci};
use crate::images::Store;
use crate::network::NetworkNamespace;
use crate::node::{Agent, Node, Options as NodeOptions, Plugins};
use crate::process::Launch;
use crate::registry::{self, Registry};
use crate::scratch::Scratch;
use crate::{apparmor, home};

/// Pins the digest of an image that only its registry has.
const LEFT_OUT: &str = "public image with digest should be pulled";
/// Far more than a run takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// How exec, attach and port forwarding are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// SPDY/3.1.
    Spdy,
    /// WebSocket.
    Websocket,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Spdy => "spdy",
            Self::Websocket => "websocket",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Spdy => &[],
            Self::Websocket => &[
                "--websocket-exec",
                "--websocket-attach",
                "--websocket-portforward",
            ],
        }
    }
}

/// What is run by hand.
#[derive(Debug, Args)]
pub struct Options {
    /// How streams are spoken.
    #[arg(long, value_enum, default_value_t = Transport::Spdy)]
    transport: Transport,
    /// Specifications whose names match this expression, instead of all.
    #[arg(long)]
    focus: Option<String>,
    /// containerd from Debian's packages in this directory, instead of auraed.
    #[arg(long, value_name = "DIR")]
    peer: Option<PathBuf>,
    /// Networks by CNI's reference plugins, instead of auraed's own.
    #[arg(long, value_enum, conflicts_with = "peer")]
    plugins: Option<Plugins>,
    /// Keeps report and logs here.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs it by hand and says what came out.
///
/// # Errors
/// The runtime does not come up, or a specification fails.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let scratch = Arc::new(Scratch::create("critest")?);
    let ground = Ground::make(&scratch, "critest")?;
    let started = Instant::now();
    let report = match &options.peer {
        Some(tree) => {
            let peer = ground.containerd(tree)?;
            ground.run(&peer.socket(), options.transport, options.focus.as_deref())
        }
        None => {
            let node = ground.node(options.plugins)?;
            ground.run(&node.cri_socket(), options.transport, options.focus.as_deref())
        }
    };
    if let Some(directory) = &options.keep {
        fs_err::create_dir_all(directory)?;
        for entry in fs_err::read_dir(scratch.path().join("log"))? {
            let entry = entry?;
            fs_err::copy(entry.path(), directory.join(entry.file_name()))?;
        }
    }
    let report = report?;
    for (name, seconds) in report.passed.iter().filter(|(_, seconds)| **seconds > 5.0) {
        crate::say(&format!("slow: {seconds:.1} s: {name}"));
    }
    for (name, reason) in &report.skipped {
        crate::say(&format!("skipped: {name}: {reason}"));
    }
    crate::say(&report.failures());
    crate::say(&format!(
        "{} passed, {} failed, {} skipped in {:.0} s",
        report.passed.len(),
        report.failed.len(),
        report.skipped.len(),
        started.elapsed().as_secs_f64()
    ));
    if !report.failed.is_empty() {
        bail!("critest fails");
    }
    Ok(())
}

/// A network namespace with the registry that stands in for the public ones.
#[derive(Debug)]
pub struct Ground {
    name: String,
    scratch: Arc<Scratch>,
    network: Arc<NetworkNamespace>,
    registry: Registry,
}

impl Ground {
    /// Makes one, with a name that no other of the run has.
    ///
    /// # Errors
    /// Something is missing that `cargo xtask setup` brings.
    pub fn make(scratch: &Arc<Scratch>, name: &str) -> anyhow::Result<Self> {
        let network = Arc::new(NetworkNamespace::create(scratch)?);
        let registry = Registry::start_as(&format!("{name}-registry"), scratch, &network, &Store::public()?)?;
        Ok(Self {
            name: name.to_owned(),
            scratch: scratch.clone(),
            network,
            registry,
        })
    }

    /// auraed with cri-shim, with network plugins if there are to be any, and with AppArmor where the kernel has it.
    ///
    /// # Errors
    /// One does not come up.
    pub fn node(&self, plugins: Option<Plugins>) -> anyhow::Result<Node> {
        let options = NodeOptions {
            plugins,
            apparmor: apparmor::is_enabled(),
            ..NodeOptions::new(&self.name).with(Agent::Kubelet)
        };
        let node = Node::start(&self.scratch, &self.network, options)?;
        node.start_shim()?;
        Ok(node)
    }

    /// containerd with runc, from Debian's packages unpacked in `tree`.
    ///
    /// # Errors
    /// It does not come up.
    pub fn containerd(&self, tree: &Path) -> anyhow::Result<Containerd> {
        let name = format!("{}-peer", self.name);
        for host in registry::MIRRORED {
            let directory = self.scratch.path().join(&name).join("certs.d").join(host);
            fs_err::create_dir_all(&directory)?;
            let mirror = format!(
                "[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
                registry::ADDRESS
            );
            fs_err::write(directory.join("hosts.toml"), mirror)?;
        }
        containerd::put_pause(&self.scratch, &self.registry)?;
        Containerd::start(&self.scratch, &self.network, tree, &name, Oci::Runc)
    }

    /// Runs critest over a runtime's socket; its output is the log `NAME-critest`.
    ///
    /// # Errors
    /// It is not built, does not end in time, or ends without a report. A specification that fails is no error.
    pub fn run(&self, socket: &Path, transport: Transport, focus: Option<&str>) -> anyhow::Result<Report> {
        let name = format!("{}-critest-{}", self.name, transport.name());
        let report = self.scratch.path().join("log").join(format!("{name}.json"));
        let directory = self.scratch.path().join(format!("{name}.tmp"));
        fs_err::create_dir_all(&directory)?;
        // Of the node, which has the ground's name.
        let tools = self.scratch.path().join(&self.name).join("tools");
        let mut launch = Launch::new("critest", home::built("critest")?)
            .looking_in(&tools)?
            // It does not remove all that it makes there.
            .env("TMPDIR", directory)
            .arg(format!("--runtime-endpoint=unix://{}", socket.display()))
            .arg(format!("--ginkgo.json-report={}", report.display()))
            .arg(format!("--ginkgo.skip={LEFT_OUT}"))
            .arg("--ginkgo.no-color")
            .args(transport.flags());
        if let Some(expression) = focus {
            launch = launch.arg(format!("--ginkgo.focus={expression}"));
        }
        let log = self.scratch.log(&name);
        let program = self.network.spawner().launch(&launch, &log)?;
        let Some(status) = program.wait(LIMIT) else {
            bail!(
                "critest does not end; the end of its output:\n{}",
                program.tail(40)
            );
        };
        let report = Report::read(&report)
            .with_context(|| format!("critest ended with {status}:\n{}", program.tail(40)))?;
        if !status.success() && report.failed.is_empty() {
            bail!(
                "critest ended with {status}, but nothing failed:\n{}",
                program.tail(40)
            );
        }
        Ok(report)
    }
}
