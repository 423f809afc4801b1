//! `/portForward`: connections to ports of a pod, over WebSocket or SPDY/3.1.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use cri_shim_relay::{Pod, Rejection};

use super::Shared;
use super::refusal::Refusal;

pub(super) async fn port_forward(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    start(&shared, (&namespace, &pod, None), request)
}

pub(super) async fn port_forward_with_uid(
    State(shared): State<Arc<Shared>>,
    Path((namespace, pod, uid)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    start(&shared, (&namespace, &pod, Some(&uid)), request)
}

fn start(
    shared: &Shared,
    (namespace, name, uid): (&str, &str, Option<&str>),
    request: Request,
) -> Result<Response, Refusal> {
    let pod = shared
        .pods
        .find(namespace, name, uid)
        .ok_or_else(|| Refusal::not_found("pod does not exist"))?;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let pod = Pod {
        id: uid.clone(),
        name: name.to_owned(),
        uid,
    };
    let (parts, _) = request.into_parts();
    let answer = shared.relay.port_forward(pod, Vec::new(), parts);
    Ok(answer.unwrap_or_else(Rejection::response))
}
