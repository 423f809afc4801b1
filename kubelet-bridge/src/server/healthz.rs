//! `/healthz`, on the kubelet API and in plain text on an address of its own.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

use super::ServerError;

/// The answer while the program serves, as kubelet's.
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// Serves `/healthz` alone, without TLS, until the task is dropped.
///
/// # Errors
/// [`ServerError::Listen`].
pub async fn serve_healthz(address: SocketAddr) -> Result<impl Future<Output = ()>, ServerError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ServerError::Listen { address, source })?;
    let router = Router::new().route("/healthz", get(healthz));
    Ok(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "healthz");
        }
    })
}
