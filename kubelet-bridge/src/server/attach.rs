//! `/attach`: a container's own streams, over WebSocket or SPDY/3.1.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use cri_shim_relay::Rejection;
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;

use super::Shared;
use super::exec::{options, reference};
use super::refusal::Refusal;

pub(super) async fn attach(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    start(&shared, (&namespace, &pod, None), container, request).await
}

pub(super) async fn attach_with_uid(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod, uid, container)): Path<(String, String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    start(&shared, (&namespace, &pod, Some(&uid)), container, request).await
}

async fn start(
    shared: &Shared,
    (namespace, name, uid): (&str, &str, Option<&str>),
    container: String,
    request: Request,
) -> Result<Response, Refusal> {
    let mut options = options(&request)?;
    let pod = shared
        .pods
        .find(namespace, name, uid)
        .ok_or_else(|| Refusal::not_found("pod does not exist"))?;
    // Whether there is a terminal was decided when the container was started.
    options.tty = has_terminal(&pod, &container).ok_or_else(|| {
        let message = format!("container {container} not found in pod {name}_{namespace}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })?;
    options.stderr &= !options.tty;
    let (parts, _) = request.into_parts();
    let answer = shared
        .relay
        .attach(reference(&pod, container), options, parts)
        .await;
    Ok(answer.unwrap_or_else(Rejection::response))
}

/// Whether a container of the pod has a terminal; none where the pod has no such container.
fn has_terminal(pod: &Pod, container: &str) -> Option<bool> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let found = all.find(|candidate| candidate.name == container)?;
    Some(found.tty.unwrap_or(false))
}
