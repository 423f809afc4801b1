//! `/pods` and `/runningpods`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;

use super::Shared;

/// Every pod of this node with its status, as a v1 PodList.
pub(super) async fn pods(State(shared): State<Arc<Shared>>) -> Json<List<Pod>> {
    list(shared.pods.list())
}

/// Those that run.
pub(super) async fn running_pods(State(shared): State<Arc<Shared>>) -> Json<List<Pod>> {
    let running = |pod: &Arc<Pod>| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        phase == Some("Running")
    };
    list(shared.pods.list().into_iter().filter(running).collect())
}

fn list(pods: Vec<Arc<Pod>>) -> Json<List<Pod>> {
    Json(List {
        items: pods.into_iter().map(Arc::unwrap_or_clone).collect(),
        ..List::default()
    })
}
