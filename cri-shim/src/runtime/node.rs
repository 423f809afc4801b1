//! Version, Status, RuntimeConfig, UpdateRuntimeConfig: the runtime itself.

use std::time::Duration;

use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use tonic::Status;
use translation::cri::node;

use crate::shim::Shim;

/// How long auraed may take to say how it is, before it is one that is not ready.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn version(shim: &Shim) -> Result<cri::VersionResponse, Status> {
    Ok(node::version(&runtime(shim).await?))
}

/// Never fails for auraed's absence: kubelet shows the condition's text on the node.
pub(super) async fn status(shim: &Shim, request: cri::StatusRequest) -> Result<cri::StatusResponse, Status> {
    let runtime = match tokio::time::timeout(PATIENCE, runtime(shim)).await {
        Ok(runtime) => runtime,
        Err(_) => Err(Status::deadline_exceeded("auraed does not answer in time")),
    };
    let known = runtime.as_ref().map_err(|status| status.message());
    Ok(node::status(known, request.verbose))
}

/// Known without asking: it never changes while this program runs.
pub(super) async fn configuration() -> Result<cri::RuntimeConfigResponse, Status> {
    Ok(node::configuration())
}

/// Hands the pods' subnets on. Where auraed does not give out the addresses it is accepted none the less, as by others: then
/// the network plugin, or who configured auraed, has decided.
pub(super) async fn update(
    shim: &Shim,
    request: cri::UpdateRuntimeConfigRequest,
) -> Result<cri::UpdateRuntimeConfigResponse, Status> {
    let Some(assign) = request.runtime_config.as_ref().and_then(node::pod_subnets) else {
        return Ok(cri::UpdateRuntimeConfigResponse {});
    };
    let subnets = assign.subnets.clone();
    let assigned = shim
        .aurae
        .ask(shim.aurae.control.runtime().assign_pod_subnets(assign))
        .await?;
    tracing::info!(
        ?subnets,
        outcome = node::subnet_use(&assigned),
        "the caller tells the pods' subnets"
    );
    Ok(cri::UpdateRuntimeConfigResponse {})
}

async fn runtime(shim: &Shim) -> Result<api::GetRuntimeResponse, Status> {
    shim.aurae
        .ask(
            shim.aurae
                .control
                .runtime()
                .get_runtime(api::GetRuntimeRequest {}),
        )
        .await
}
