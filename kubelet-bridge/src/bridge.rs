//! Builds the parts, starts them, and ends them together.
//!
//! ```text
//! Settings ─► Cluster, Aurae ─► sources ─► table of pods ◄─ resolver, recorder, node
//!                                              └─► Directory ─► kubelet API
//! ```
//!
//! Ends at SIGTERM or SIGINT: pods go on in auraed, so there is nothing to wait for but the status under way.

use std::future::Future;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use translation::Objects;

use crate::aurae::Aurae;
use crate::chain;
use crate::cluster::{Cluster, ClusterError};
use crate::flags::Settings;
use crate::node::Link;
use crate::node::keeper::Keeper;
use crate::pods::{Context, Directory, table};
use crate::report::{Recorder, aurae_events};
use crate::resolve::Resolver;
use crate::server::{Server, ServerError, serve_healthz};
use crate::source;

/// News that wait for the table.
const QUEUE: usize = 256;

/// Why the bridge cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// There is no way to the cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The kubelet API cannot be served.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// We are nobody to auraed.
    #[error("cannot use auraed")]
    Aurae(#[source] auraed_client::ConnectError),
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals(#[source] std::io::Error),
    /// A part ended that never should.
    #[error("{0} ended unexpectedly; this is a defect of the bridge")]
    Ended(&'static str),
}

/// Runs until it is told to end (SIGTERM, SIGINT).
///
/// # Errors
/// Where something is wrong that waiting does not mend.
pub async fn run(settings: Settings) -> Result<(), BridgeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(BridgeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(BridgeError::Signals)?;
    let mut parts = Parts::default();
    let started = start(settings, &mut parts).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        Some(ended) = parts.0.join_next() => {
            return Err(BridgeError::Ended(ended.unwrap_or("a part that panicked")));
        }
    }
    tracing::info!("ending; pods go on in auraed");
    drop(started);
    parts.0.shutdown().await;
    Ok(())
}

/// Tasks that never end by themselves, with their names.
#[derive(Default)]
struct Parts(JoinSet<&'static str>);

impl Parts {
    fn start(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            part.await;
            name
        });
    }
}

async fn start(settings: Settings, parts: &mut Parts) -> Result<Option<Server>, BridgeError> {
    let name = settings.node.name.clone();
    let cluster = match &settings.kubeconfig {
        Some(path) => Some(Cluster::load(path, &name).await?),
        None => None,
    };
    let aurae = Aurae::new(settings.aurae_socket.clone(), settings.aurae_identity.clone());
    let directory = Directory::default();
    let server = match &cluster {
        Some(cluster) => {
            let pods = Arc::new(directory.clone());
            Some(Server::start(&settings, cluster.clone(), aurae.clone(), pods).await?)
        }
        None => None,
    };
    if let Some(address) = settings.healthz {
        parts.start("healthz", serve_healthz(address).await?);
    }
    greet(&aurae).await?;
    let recorder = match &cluster {
        Some(cluster) => Recorder::start(cluster.clone(), &name),
        None => Recorder::nowhere(&name),
    };
    let (link, links) = watch::channel(Link::Unknown);
    let port = server
        .as_ref()
        .map_or(settings.server.listen.port(), |server| server.address.port());
    let keeper = Keeper::new(
        settings.node,
        port,
        aurae.clone(),
        cluster.clone(),
        recorder.clone(),
        links,
    );
    let objects = watch::Sender::new(Arc::new(Objects::default()));
    let context = Context {
        aurae: aurae.clone(),
        resolver: cluster.clone().map(Resolver::of_cluster),
        local: Resolver::local(objects.subscribe()),
        cluster: cluster.clone(),
        node: keeper.views(),
        recorder: recorder.clone(),
    };
    parts.start("the node", keeper.run());
    let (inputs, queue) = mpsc::channel(QUEUE);
    let manifests = settings.manifests.clone();
    parts.start(
        "the table of pods",
        table::run(Arc::new(context), directory.clone(), manifests.clone(), queue),
    );
    parts.start(
        "auraed's pods",
        source::aurae::follow(aurae.clone(), inputs.clone(), link),
    );
    if let Some(path) = manifests {
        let follow = source::manifest::follow(path, name.clone(), inputs.clone(), objects);
        parts.start("manifests", follow);
    }
    if let Some(cluster) = cluster {
        parts.start(
            "the cluster's pods",
            source::api::follow(cluster, name.clone(), inputs),
        );
        parts.start("events", aurae_events::follow(aurae, directory, recorder, name));
    }
    Ok(server)
}

/// Tells at once of what waiting does not mend: a wrong identity. An auraed that is away may come.
async fn greet(aurae: &Aurae) -> Result<(), BridgeError> {
    match aurae.probe().await {
        Ok(()) => Ok(()),
        Err(error) if error.is_retryable() => {
            tracing::warn!("auraed is away, waiting for it: {}", chain::sources(&error));
            Ok(())
        }
        Err(error) => Err(BridgeError::Aurae(error)),
    }
}
