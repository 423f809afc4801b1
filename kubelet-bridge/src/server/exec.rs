//! `/exec`: a program in a container, over WebSocket or SPDY/3.1.

use std::sync::Arc;

use auraed_api::runtime::v0::ContainerReference;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use cri_shim_relay::Rejection;
use cri_shim_streaming::Options;
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;

use super::Shared;
use super::logs::has_container;
use super::refusal::Refusal;

pub(super) async fn exec(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    start(&shared, (&namespace, &pod, None), container, request).await
}

pub(super) async fn exec_with_uid(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod, uid, container)): Path<(String, String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    start(&shared, (&namespace, &pod, Some(&uid)), container, request).await
}

/// Starts the program, then takes the connection over. What goes wrong before that is an HTTP answer.
async fn start(
    shared: &Shared,
    (namespace, name, uid): (&str, &str, Option<&str>),
    container: String,
    request: Request,
) -> Result<Response, Refusal> {
    let options = options(&request)?;
    let pod = shared
        .pods
        .find(namespace, name, uid)
        .ok_or_else(|| Refusal::not_found("pod does not exist"))?;
    if !has_container(&pod, &container) {
        let message = format!("container not found (\"{container}\")");
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message));
    }
    let (parts, _) = request.into_parts();
    let answer = shared
        .relay
        .exec(reference(&pod, container), options, parts)
        .await;
    Ok(answer.unwrap_or_else(Rejection::response))
}

/// Which streams a request asks for.
pub(super) fn options(request: &Request) -> Result<Options, Refusal> {
    let query = request.uri().query().unwrap_or_default();
    Options::from_query(query).map_err(|error| Refusal::bad_request(error.to_string()))
}

/// A container as auraed knows it.
pub(super) fn reference(pod: &Pod, container: String) -> ContainerReference {
    ContainerReference {
        pod: pod.metadata.uid.clone().unwrap_or_default(),
        container,
    }
}
