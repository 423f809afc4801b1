//! How fast a node starts and stops pods, and what it weighs: this node, and beside it kubelet with containerd on the same
//! control plane, in the same run. Called by the binary `e2e`.
//!
//! Nodes are measured one after the other, and what is not measured is not running.

pub mod cri;

mod measure;
mod peer;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use kube::Client;

pub use measure::{Mode, Result as Measured, quantile};

use crate::cluster::Cluster;
use crate::containerd;
use crate::images::Store;
use crate::network::NetworkNamespace;
use crate::node::{Node, Options as NodeOptions};
use crate::registry::Registry;
use crate::scratch::Scratch;

use crate::memory::{self, Weight};

/// What is measured.
#[derive(Debug, Args)]
pub struct Options {
    /// Pods one at a time.
    #[arg(long, default_value_t = 20)]
    serial: usize,
    /// Pods at once.
    #[arg(long, default_value_t = 100)]
    parallel: usize,
    /// A directory with containerd, runc and the network plugins, to measure kubelet with them as well.
    #[arg(long, value_name = "DIR")]
    peer: Option<PathBuf>,
    /// Measures the peer alone.
    #[arg(long, requires = "peer")]
    peer_alone: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// What one node has shown.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Figures {
    /// The node's name.
    pub node: String,
    /// One pod at a time.
    pub serial: Measured,
    /// All at once.
    pub parallel: Measured,
    /// Before any pod.
    pub idle: Vec<Weight>,
    /// With the pods of [`Figures::parallel`].
    pub full: Vec<Weight>,
}

/// Measures and prints.
///
/// # Errors
/// A node does not come up, or pods do not start.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let scratch = Arc::new(Scratch::create("bench")?);
    let result = measure_all(options, &scratch).await;
    match result {
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
    let images = Store::open()?;
    let registry = Registry::start(scratch, &network, &images)?;
    let cluster = Cluster::start(scratch, &network).await?;
    let client = cluster.client().await?;
    cluster.namespace_ready(&client, "default").await?;
    let mut figures = Vec::new();
    if !options.peer_alone {
        let node = Node::join(&cluster, NodeOptions::reserved("aurae")).await?;
        let measured = measure_node(&client, node.name(), options, &|| memory::of_node(&node)).await;
        figures.push(measured.context("measuring this node")?);
        node.stop()?;
    }
    if let Some(tree) = &options.peer {
        containerd::put_pause(scratch, &registry)?;
        let peer = peer::Peer::join(&cluster, tree).await?;
        figures.push(
            measure_node(&client, peer::NAME, options, &|| peer.weight())
                .await
                .context("measuring kubelet and containerd")?,
        );
    }
    Ok(figures)
}

async fn measure_node(
    client: &Client,
    node: &str,
    options: &Options,
    weigh: &dyn Fn() -> Vec<Weight>,
) -> anyhow::Result<Figures> {
    let image = Registry::reference("busybox");
    // The first pod pulls the image, which is not what is measured.
    measure::run(client, node, &image, Mode::Serial, 1, &mut || ()).await?;
    let idle = weigh();
    let serial = measure::run(client, node, &image, Mode::Serial, options.serial, &mut || ()).await?;
    let mut full = Vec::new();
    let parallel = measure::run(
        client,
        node,
        &image,
        Mode::Parallel,
        options.parallel,
        &mut || full = weigh(),
    )
    .await?;
    Ok(Figures {
        node: node.to_owned(),
        serial,
        parallel,
        idle,
        full,
    })
}
