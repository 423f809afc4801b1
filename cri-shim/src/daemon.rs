//! Serves until a signal, then lets calls that are under way end.
//!
//! ```text
//!  socket ─► streaming server ─► CRI ─► READY=1 ─► a signal ─► drain
//! ```
//!
//! A second signal ends the shim at once: nothing is lost with it.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::aurae::Aurae;
use crate::dispatch::Services;
use crate::flags::Flags;
use crate::listener::{BindError, Listener};
use crate::notify;
use crate::shim::Shim;
use crate::streams::Streams;

/// Calls that one connection may have under way: kubelet has one for all, and a stop may take long.
const CALLS: u32 = 1024;

/// Why the shim ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The socket cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The streaming server cannot listen.
    #[error("cannot listen on {address}: give another --streaming-address")]
    Streaming {
        /// As it was given.
        address: std::net::SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server broke.
    #[error("the CRI cannot be served any longer")]
    Serve(#[source] tonic::transport::Error),
}

/// Runs the shim until a signal.
///
/// # Errors
/// [`DaemonError`] with the step that failed.
pub async fn run(flags: &Flags) -> Result<(), DaemonError> {
    let mut signals = Signals::listen()?;
    let listener = Listener::bind(&flags.listen).await?;
    let aurae = Aurae::new(flags.aurae_socket.clone(), flags.aurae_identity.clone());
    let address = flags.streaming_address;
    let streams = Streams::start(address, aurae.streams.clone())
        .await
        .map_err(|source| DaemonError::Streaming { address, source })?;
    let stop = CancellationToken::new();
    let shim = Shim {
        aurae,
        streams: streams.clone(),
        stop: stop.clone(),
    };
    let mut serving = tokio::spawn(serve(listener, shim));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %flags.listen.display(),
        streaming = %streams.address(),
        "ready"
    );
    notify::ready();
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        () = signals.next() => None,
    };
    notify::stopping();
    stop.cancel();
    if let Some(ended) = ended {
        return outcome(ended);
    }
    tracing::info!("stopping; containers run on");
    let drain = async {
        let (ended, ()) = tokio::join!(&mut serving, streams.stop());
        outcome(ended)
    };
    tokio::select! {
        ended = drain => ended,
        () = tokio::time::sleep(Duration::from_secs(flags.drain_seconds.into())) => {
            tracing::warn!("calls were still under way; what they asked for goes on");
            Ok(())
        }
        () = signals.next() => Ok(()),
    }
}

/// A panic of the server's own task is as good as its end.
fn outcome(
    ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>,
) -> Result<(), DaemonError> {
    match ended {
        Ok(outcome) => outcome.map_err(DaemonError::Serve),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn serve(listener: Listener, shim: Shim) -> Result<(), tonic::transport::Error> {
    let stop = shim.stop.clone();
    Server::builder()
        .max_concurrent_streams(CALLS)
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .serve_with_incoming_shutdown(
            Services::new(shim),
            listener.connections(),
            stop.cancelled_owned(),
        )
        .await
}

/// The signals that end the shim.
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
