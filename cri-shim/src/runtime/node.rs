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

/// Accepted: which addresses pods get is in the configuration of auraed or of its network plugin.
pub(super) async fn update(
    _: &Shim,
    request: cri::UpdateRuntimeConfigRequest,
) -> Result<cri::UpdateRuntimeConfigResponse, Status> {
    let network = request.runtime_config.and_then(|config| config.network_config);
    if let Some(network) = network.filter(|network| !network.pod_cidr.is_empty()) {
        tracing::info!(
            pod_cidr = network.pod_cidr,
            "the caller tells of the pods' addresses; the network's own configuration stays"
        );
    }
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
