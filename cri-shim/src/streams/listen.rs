//! Connections to the streaming server.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Shared;

/// A client that does not send its request's head in this time is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that have not been upgraded, at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;

/// Accepts until it is told to stop, or whoever asks for URLs is gone; each connection is a task of its own, so that a slow
/// one holds nobody up.
pub(super) async fn accept(listener: TcpListener, shared: Weak<Shared>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, or the peer was gone before: wait a moment, others may finish.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(shared) = shared.upgrade() else { return };
            tokio::spawn(async move {
                if let Err(error) = connection(stream, shared).await {
                    tracing::debug!(%error, "a connection for a stream broke");
                }
                drop(place);
            });
        }
    };
    stop.run_until_cancelled(accepting).await;
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) -> hyper::Result<()> {
    // A terminal's keys are small.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection is slower than it could be");
    }
    let stop = shared.stop.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let (parts, _) = request.into_parts();
            let answer: Response<String> = shared.serve(parts).await;
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}
