//! Builds the subsystems, spawns their tasks, drains them within a grace time.
//!
//! ```text
//!  directories ─► locks ─► state ─► host, network, images ─► engine (adopts what runs)     = the foundation
//!  foundation + identity ─► socket ─► API ─► READY=1 ─► a signal ─► drain ─► pods run on
//! ```
//!
//! Called by `main` alone. What fails before the socket is served ends the daemon with the step and the reason; pods of
//! an earlier daemon are not touched then. After that only the end of the API or a signal ends it. A second signal ends
//! it at once: everything that matters is on the disk and in the pod inits at any instruction.

mod cleanup;
mod error;
mod foundation;
mod images;
mod locks;
mod notify;
mod places;

pub use cleanup::{Extent, cleanup};
pub use error::DaemonError;

use crate::config::Config;
use crate::observe::{LogWatcher, Node, Observe};
use crate::runtime::writable::WritableLayers;
use crate::runtime::{About, Images};
use crate::server::{self, Listener, ServeError, Services};
use auraed_identity::Identity;
use auraed_sandbox::cgroup::Version;
use foundation::Foundation;
use rustix::process::Resource;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

/// How long calls that are under way may take once the daemon stops. Their pods go on either way.
const DRAIN: Duration = Duration::from_secs(5);

/// How often certificates are looked at. They are renewed months before their end.
const RENEWAL: Duration = Duration::from_secs(24 * 3600);

/// Runs the daemon until a signal, or until the API ends by itself.
///
/// # Errors
/// [`DaemonError`] with the step that failed.
pub async fn run(config: &Config) -> Result<(), DaemonError> {
    raise_descriptor_limit();
    // Before anything is built, so that a signal during a long start is not lost.
    let signals = Signals::listen()?;
    let foundation = Foundation::lay(config).await?;
    let served = serve(config, &foundation, signals).await;
    foundation.close().await;
    served
}

async fn serve(config: &Config, foundation: &Foundation, mut signals: Signals) -> Result<(), DaemonError> {
    let identity = load_identity(config).await?;
    let listener = Listener::bind(&config.socket).await?;
    let stop = CancellationToken::new();
    let (watcher, watching) = LogWatcher::start(stop.clone()).map_err(DaemonError::Inotify)?;
    let renewing = tokio::spawn(renew(Arc::clone(&identity), stop.clone()));
    let (images, tidying) = images(config, foundation, stop.clone());
    let health = HealthReporter::new();
    let services = services(config, foundation, images, watcher, health.clone()).await;
    let mut serving = tokio::spawn(server::serve(listener, identity, services, stop.clone()));

    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %config.socket.display(),
        pods = foundation.engine.list().len(),
        "ready"
    );
    notify::ready();
    let ended = tokio::select! {
        result = &mut serving => Some(result),
        () = signals.next() => None,
    };
    notify::stopping();
    stop.cancel();
    let result = match ended {
        Some(result) => outcome(result),
        None => {
            tracing::info!("stopping; pods run on");
            health
                .set_service_status("", tonic_health::ServingStatus::NotServing)
                .await;
            drain(serving, &mut signals).await
        }
    };
    let _ = tokio::join!(watching, renewing, tidying);
    result
}

fn images(config: &Config, foundation: &Foundation, stop: CancellationToken) -> (Images, JoinHandle<()>) {
    Images::start(
        foundation.images.clone(),
        foundation.engine.clone(),
        foundation.sandboxes.clone(),
        config.images.pinned.clone(),
        WritableLayers::new(&config.state_dir),
        stop,
    )
}

async fn services(
    config: &Config,
    foundation: &Foundation,
    images: Images,
    watcher: LogWatcher,
    health: HealthReporter,
) -> Services {
    let node = Node {
        root: Path::new("/").to_owned(),
        cgroup_version: cgroup_version(foundation.host.cgroup_version()).to_owned(),
        problems: Vec::new(),
        state_directory: config.state_dir.clone(),
        log_directory: config.log_dir.clone(),
    };
    let observe = Observe::new(
        foundation.engine.clone(),
        foundation.network.clone(),
        node,
        watcher,
    );
    let health = HealthServer::new(HealthService::from_health_reporter(health));
    let about = About {
        host: Arc::clone(&foundation.host),
        network: foundation.network.clone(),
        images: config.state_dir.join("images"),
        containers: config.state_dir.join("sandboxes"),
        handlers: config.runtime.handlers.clone(),
    };
    Services::new(
        &foundation.engine,
        &foundation.sandboxes,
        images,
        observe,
        about,
        health,
    )
}

fn cgroup_version(version: Version) -> &'static str {
    match version {
        Version::V1 => "v1",
        Version::V2 => "v2",
        Version::Hybrid => "hybrid",
    }
}

/// Waits for the API's calls to end, for a limited time; a second signal ends the daemon at once.
async fn drain(
    mut serving: JoinHandle<Result<(), ServeError>>,
    signals: &mut Signals,
) -> Result<(), DaemonError> {
    tokio::select! {
        result = &mut serving => outcome(result),
        () = tokio::time::sleep(DRAIN) => {
            tracing::warn!("calls were still under way; their pods go on");
            serving.abort();
            Ok(())
        }
        () = signals.next() => Err(DaemonError::Interrupted),
    }
}

fn outcome(result: Result<Result<(), ServeError>, tokio::task::JoinError>) -> Result<(), DaemonError> {
    result.map_err(DaemonError::Panic)?.map_err(DaemonError::Serve)
}

async fn load_identity(config: &Config) -> Result<Arc<Identity>, DaemonError> {
    let directory = config.state_dir.join("identity");
    let domain = config.trust_domain.clone();
    let loaded = tokio::task::spawn_blocking(move || Identity::load_or_create(&directory, domain)).await;
    Ok(Arc::new(loaded.map_err(DaemonError::Panic)??))
}

async fn renew(identity: Arc<Identity>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(RENEWAL))
        .await
        .is_some()
    {
        let identity = Arc::clone(&identity);
        match tokio::task::spawn_blocking(move || identity.renew()).await {
            Ok(Ok(true)) => tracing::info!("the daemon's certificate was renewed"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::error!(error = %server::chain(&error), "cannot renew a certificate"),
            Err(error) => tracing::error!(%error, "cannot renew a certificate"),
        }
    }
}

/// Each pod takes a few descriptors, and the usual soft limit is for programs that still use select(2).
fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// The signals that end the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, DaemonError> {
        let listen = |kind| signal(kind).map_err(DaemonError::Signals);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
