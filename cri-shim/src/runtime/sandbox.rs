//! RunPodSandbox, StopPodSandbox, RemovePodSandbox, PodSandboxStatus, ListPodSandbox, StreamPodSandboxes,
//! UpdatePodSandboxResources.

use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use tonic::Status;
use translation::cri::{filter, sandbox};

use super::{Lists, in_lists};
use crate::shim::{Shim, empty, now, present, refused, unless_gone};

/// One that was run before under the same name and has stopped since cannot be run again.
pub(super) async fn run(
    shim: &Shim,
    request: cri::RunPodSandboxRequest,
) -> Result<cri::RunPodSandboxResponse, Status> {
    let config = request.config.unwrap_or_default();
    let spec = sandbox::spec(&config, &request.runtime_handler).map_err(|fields| refused(&fields))?;
    let pod_sandbox_id = spec.id.clone();
    let request = api::CreateSandboxRequest { spec: Some(spec) };
    let answer = shim
        .aurae
        .ask(shim.aurae.control.sandboxes().create_sandbox(request))
        .await?;
    let made = answer.sandbox.ok_or_else(|| empty("a sandbox"))?;
    if made.state() != api::SandboxState::Ready {
        return Err(Status::already_exists(format!(
            "sandbox {pod_sandbox_id} was run before and has stopped: remove it, or use another attempt"
        )));
    }
    Ok(cri::RunPodSandboxResponse { pod_sandbox_id })
}

pub(super) async fn stop(
    shim: &Shim,
    request: cri::StopPodSandboxRequest,
) -> Result<cri::StopPodSandboxResponse, Status> {
    let stop = async {
        let id = shim.sandbox_id(&request.pod_sandbox_id).await?;
        let request = api::StopSandboxRequest { id };
        let call = shim
            .aurae
            .ask(shim.aurae.control.sandboxes().stop_sandbox(request))
            .await;
        call.map(drop)
    };
    unless_gone(stop.await)?;
    Ok(cri::StopPodSandboxResponse {})
}

pub(super) async fn remove(
    shim: &Shim,
    request: cri::RemovePodSandboxRequest,
) -> Result<cri::RemovePodSandboxResponse, Status> {
    let remove = async {
        let id = shim.sandbox_id(&request.pod_sandbox_id).await?;
        let request = api::RemoveSandboxRequest { id };
        let call = shim
            .aurae
            .ask(shim.aurae.control.sandboxes().remove_sandbox(request))
            .await;
        call.map(drop)
    };
    unless_gone(remove.await)?;
    Ok(cri::RemovePodSandboxResponse {})
}

pub(super) async fn status(
    shim: &Shim,
    request: cri::PodSandboxStatusRequest,
) -> Result<cri::PodSandboxStatusResponse, Status> {
    let (status, containers) = shim.sandbox(&request.pod_sandbox_id).await?;
    Ok(sandbox::status_response(
        &status,
        &containers,
        request.verbose,
        now(),
    ))
}

pub(super) async fn list(
    shim: &Shim,
    request: cri::ListPodSandboxRequest,
) -> Result<cri::ListPodSandboxResponse, Status> {
    let items = items(shim, request.filter).await?;
    Ok(cri::ListPodSandboxResponse { items })
}

pub(super) async fn stream(
    shim: &Shim,
    request: cri::StreamPodSandboxesRequest,
) -> Result<Lists<cri::StreamPodSandboxesResponse>, Status> {
    let items = items(shim, request.filter).await?;
    Ok(in_lists(items, |pod_sandboxes| cri::StreamPodSandboxesResponse {
        pod_sandboxes,
    }))
}

async fn items(shim: &Shim, filter: Option<cri::PodSandboxFilter>) -> Result<Vec<cri::PodSandbox>, Status> {
    let request = filter::sandboxes(filter);
    let answer = shim
        .aurae
        .ask(shim.aurae.control.sandboxes().list_sandboxes(request))
        .await?;
    Ok(answer.sandboxes.into_iter().map(sandbox::item).collect())
}

/// The caller has changed the cgroup that the sandbox is in; what it tells here are the containers' declarations, added
/// up, which bind nobody (see `docs/coverage-cri.md`). So there is nothing left to do.
pub(super) async fn update(
    shim: &Shim,
    request: cri::UpdatePodSandboxResourcesRequest,
) -> Result<cri::UpdatePodSandboxResourcesResponse, Status> {
    present("pod_sandbox_id", &request.pod_sandbox_id)?;
    shim.sandbox(&request.pod_sandbox_id).await?;
    Ok(cri::UpdatePodSandboxResourcesResponse {})
}
