//! How fast a runtime is through the CRI, without a kubelet: auraed behind cri-shim, and beside it containerd with runc and
//! with crun, in the same run. Called by the binary `e2e`.
//!
//! Runtimes are measured one after the other, each with the same client, the same image and a network of its own kind; what
//! is not measured is not running.

mod client;
mod critest;
mod images;
mod lives;
mod own;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use self::client::Client;
use self::images::{Pulls, Supply};
use self::lives::Lives;
use self::own::Own;
use crate::containerd::{self, Containerd, Oci};
use crate::images::Store;
use crate::memory::{self, Weight};
use crate::network::NetworkNamespace;
use crate::node::{Agent, Node, Options as NodeOptions};
use crate::registry::Registry;
use crate::scratch::Scratch;

/// What is measured.
#[derive(Debug, Args)]
pub struct Options {
    /// Pods one at a time.
    #[arg(long, default_value_t = 30)]
    serial: usize,
    /// Pods through their whole life at once.
    #[arg(long, default_value_t = 50)]
    parallel: usize,
    /// A directory with containerd, runc, crun and the network plugins, to measure them as well.
    #[arg(long, value_name = "DIR")]
    peer: Option<PathBuf>,
    /// Measures the peers alone.
    #[arg(long, requires = "peer")]
    peer_alone: bool,
    /// Neither pulls nor images of hundreds of megabytes.
    #[arg(long)]
    no_pulls: bool,
    /// Not critest's benchmarks.
    #[arg(long)]
    no_critest: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// What one runtime has shown.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Figures {
    /// The runtime's name.
    pub runtime: String,
    /// One pod after the other.
    pub serial: Lives,
    /// All at once.
    pub parallel: Lives,
    /// A container by itself.
    pub own: Own,
    /// critest's own benchmarks: operations and their microseconds at the median.
    pub critest: Vec<(String, u64)>,
    /// Pulling and unpacking.
    pub pulls: Option<Pulls>,
    /// Before any pod.
    pub idle: Vec<Weight>,
    /// With as many pods as ran at once.
    pub full: Vec<Weight>,
}

/// Measures and prints.
///
/// # Errors
/// A runtime does not come up, or a call fails.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let scratch = Arc::new(Scratch::create("cri")?);
    match measure_all(options, &scratch).await {
        Ok(figures) if options.json => crate::say(&serde_json::to_string_pretty(&figures)?),
        Ok(figures) => crate::say(&table::render(&figures, options.parallel)),
        Err(error) => {
            scratch.mark_failed();
            return Err(error);
        }
    }
    Ok(())
}

async fn measure_all(options: &Options, scratch: &Arc<Scratch>) -> anyhow::Result<Vec<Figures>> {
    let network = Arc::new(NetworkNamespace::create(scratch)?);
    let registry = Registry::start(scratch, &network, &Store::open()?)?;
    let supply = if options.no_pulls {
        None
    } else {
        Some(Supply::make(scratch, &registry)?)
    };
    let run = Run {
        options,
        scratch,
        network: &network,
        supply: supply.as_ref(),
    };
    let mut figures = Vec::new();
    if !options.peer_alone {
        // Its pods are found by their cgroup, whose name the client makes of the runtime's.
        let node = Node::start(scratch, &network, NodeOptions::new("auraed").with(Agent::Kubelet))?;
        node.start_shim()?;
        let weigh = || memory::of_node(&node);
        let socket = node.cri_socket();
        let measured = run.measure("auraed", &socket, &weigh, None).await;
        figures.push(measured.context("measuring auraed")?);
        node.stop()?;
    }
    if let Some(tree) = &options.peer {
        containerd::put_pause(scratch, &registry)?;
        for oci in [Oci::Runc, Oci::Crun] {
            let name = format!("containerd, {}", oci.name());
            let alone = own::alone(scratch, &network, tree, oci)?;
            let containerd = Containerd::start(scratch, &network, tree, oci.name(), oci)?;
            let weigh = || containerd.weight();
            let socket = containerd.socket();
            let measured = run.measure(&name, &socket, &weigh, Some(alone)).await;
            figures.push(measured.with_context(|| format!("measuring {name}"))?);
        }
    }
    Ok(figures)
}

/// What all runtimes are measured with.
struct Run<'a> {
    options: &'a Options,
    scratch: &'a Scratch,
    network: &'a NetworkNamespace,
    supply: Option<&'a Supply>,
}

impl Run<'_> {
    /// Measures what listens on `socket`; `alone` is what the OCI runtime below it has shown by itself, if there is one.
    async fn measure(
        &self,
        runtime: &str,
        socket: &Path,
        weigh: &dyn Fn() -> Vec<Weight>,
        alone: Option<(u64, u64)>,
    ) -> anyhow::Result<Figures> {
        let client = Client::connect(socket, self.scratch, runtime).await?;
        client.ready().await?;
        client.pull(&Registry::reference("busybox")).await?;
        // The first pod is not what is measured.
        lives::one_after_the_other(&client, 1).await?;
        let idle = weigh();
        let serial = lives::one_after_the_other(&client, self.options.serial).await?;
        let (parallel, full) = lives::at_once(&client, self.options.parallel, weigh).await?;
        let own = own::run(&client, alone).await?;
        let critest = if self.options.no_critest {
            Vec::new()
        } else {
            critest::run(self.scratch, self.network, socket, runtime)?
        };
        let pulls = match self.supply {
            Some(supply) => Some(images::pulls(&client, supply).await?),
            None => None,
        };
        Ok(Figures {
            runtime: runtime.to_owned(),
            serial,
            parallel,
            own,
            critest,
            pulls,
            idle,
            full,
        })
    }
}
