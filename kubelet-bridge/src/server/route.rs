//! Which path is whose, behind authentication and authorization.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use axum::{Extension, Router};
use http::StatusCode;
use http::request::Parts;

use super::listen::PeerCertificate;
use super::refusal::Refusal;
use super::{Shared, attach, configz, exec, healthz, logs, pods, port_forward};

/// All endpoints.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let not_yet = |what: &'static str| any(move || async move { missing(what) });
    Router::new()
        .route("/healthz", get(healthz::healthz))
        .route("/healthz/ping", get(healthz::healthz))
        .route("/healthz/syncloop", get(healthz::healthz))
        .route("/pods", get(pods::pods))
        .route("/runningpods/", get(pods::running_pods))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::logs))
        .route(
            "/exec/{namespace}/{pod}/{container}",
            get(exec::exec).post(exec::exec),
        )
        .route(
            "/exec/{namespace}/{pod}/{uid}/{container}",
            get(exec::exec_with_uid).post(exec::exec_with_uid),
        )
        .route(
            "/attach/{namespace}/{pod}/{container}",
            get(attach::attach).post(attach::attach),
        )
        .route(
            "/attach/{namespace}/{pod}/{uid}/{container}",
            get(attach::attach_with_uid).post(attach::attach_with_uid),
        )
        .route(
            "/portForward/{namespace}/{pod}",
            get(port_forward::port_forward).post(port_forward::port_forward),
        )
        .route(
            "/portForward/{namespace}/{pod}/{uid}",
            get(port_forward::port_forward_with_uid).post(port_forward::port_forward_with_uid),
        )
        .route("/run/{*rest}", not_yet("run"))
        .route("/checkpoint/{*rest}", not_yet("checkpoint"))
        .route("/stats/{*rest}", not_yet("stats"))
        .route("/metrics", not_yet("metrics"))
        .route("/metrics/{*rest}", not_yet("metrics"))
        .route("/logs/{*rest}", not_yet("node logs"))
        .route("/configz", get(configz::configz))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard))
        .with_state(shared)
}

fn missing(what: &str) -> Refusal {
    Refusal::new(
        StatusCode::NOT_IMPLEMENTED,
        format!("{what} is not served by this node yet"),
    )
}

async fn guard(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<PeerCertificate>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    match admit(&shared, &peer, &parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn admit(shared: &Shared, peer: &PeerCertificate, request: &Parts) -> Result<(), Refusal> {
    let user = shared.authentication.user(peer, &request.headers).await?;
    shared
        .authorization
        .check(&user, &request.method, request.uri.path())
        .await
}
