//! The API: listener, identity of the caller, method table, one error map, one log line a failed request.
//!
//! ```text
//!  UnixListener ─accept─► handshake (a task each, 5 s) ─bounded channel─► HTTP/2
//!      request ─► instrument ( authn ─► authz ─► dispatch ─► a service ) ─► one line if it failed
//! ```
//!
//! The listener opens after the identity is loaded. A client without a certificate of this node's authority gets no
//! further than TLS; one whose certificate names nobody, or who may not call a method, gets a status and no handler
//! sees the request. A slow or silent client delays nobody but itself. When the daemon stops, new requests are refused,
//! calls under way are answered, and streams end with UNAVAILABLE, which clients take as a reason to come back.

mod authn;
mod authz;
mod dispatch;
mod instrument;
mod listener;
mod mount;
mod peer;
mod schedule;
pub(crate) mod status;

pub use dispatch::Services;
pub use listener::{BindError, Listener};
pub use peer::Peer;
pub(crate) use status::chain;

use auraed_identity::Identity;
use instrument::Instrument;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

/// The largest message that daemon and clients accept, in bytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Requests that one connection may have under way.
const STREAMS_PER_CONNECTION: u32 = 1024;

/// Bytes of one request that wait for whoever handles it: over a Unix socket this is as fast as more would be.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same of all requests of a connection together. Were it less, a few programs that do not read what is sent to them
/// would hold up every other request.
const CONNECTION_WINDOW: u32 = STREAMS_PER_CONNECTION * STREAM_WINDOW;

/// Why the API stopped serving.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The certificates are of no use.
    #[error("cannot serve the API")]
    Identity(#[from] auraed_identity::IdentityError),
    /// HTTP/2 ended on its own.
    #[error("the API ended on its own")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until `stop` is cancelled and every connection is closed.
///
/// # Errors
/// [`ServeError`] if serving could not begin or ended by itself.
pub async fn serve(
    listener: Listener,
    identity: Arc<Identity>,
    services: Services,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let tls = identity.server_config()?;
    let (incoming, accepting) = listener.accept(tls, identity, stop.clone());
    let service = Instrument::new(services, stop.clone());
    let served = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .serve_with_incoming_shutdown(service, incoming, stop.cancelled())
        .await;
    // Without the server nobody takes connections any more.
    stop.cancel();
    let _ = accepting.await;
    served.map_err(ServeError::from)
}
