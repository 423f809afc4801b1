//! CreateContainer, StartContainer, StopContainer, RemoveContainer, ListContainers, StreamContainers, ContainerStatus,
//! UpdateContainerResources, ReopenContainerLog.

use std::collections::HashMap;

use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use tonic::{Code, Status};
use translation::cri::{container, filter, resources_update};

use super::{Lists, in_lists};
use crate::shim::{Shim, refused, unless_gone};

pub(super) async fn create(
    shim: &Shim,
    request: cri::CreateContainerRequest,
) -> Result<cri::CreateContainerResponse, Status> {
    let sandbox = shim.sandbox_id(&request.pod_sandbox_id).await?;
    let config = request.config.unwrap_or_default();
    let sandbox_config = request.sandbox_config.unwrap_or_default();
    let spec = container::spec(&sandbox, &config, &sandbox_config).map_err(|fields| refused(&fields))?;
    let container_id = spec.id.clone();
    let request = api::CreateContainerRequest { spec: Some(spec) };
    shim.aurae
        .ask(shim.aurae.control.containers().create_container(request))
        .await?;
    Ok(cri::CreateContainerResponse { container_id })
}

pub(super) async fn start(
    shim: &Shim,
    request: cri::StartContainerRequest,
) -> Result<cri::StartContainerResponse, Status> {
    let id = shim.container_id(&request.container_id).await?;
    let request = api::StartContainerRequest { id };
    shim.aurae
        .ask(shim.aurae.control.containers().start_container(request))
        .await?;
    Ok(cri::StartContainerResponse {})
}

pub(super) async fn stop(
    shim: &Shim,
    request: cri::StopContainerRequest,
) -> Result<cri::StopContainerResponse, Status> {
    let stop = async {
        let request = api::StopContainerRequest {
            id: shim.container_id(&request.container_id).await?,
            // A negative time is none.
            grace_seconds: u64::try_from(request.timeout).unwrap_or_default(),
        };
        let call = shim
            .aurae
            .ask(shim.aurae.control.containers().stop_container(request))
            .await;
        call.map(drop)
    };
    unless_gone(stop.await)?;
    Ok(cri::StopContainerResponse {})
}

pub(super) async fn remove(
    shim: &Shim,
    request: cri::RemoveContainerRequest,
) -> Result<cri::RemoveContainerResponse, Status> {
    let remove = async {
        let id = shim.container_id(&request.container_id).await?;
        let request = api::RemoveContainerRequest { id };
        let call = shim
            .aurae
            .ask(shim.aurae.control.containers().remove_container(request))
            .await;
        call.map(drop)
    };
    unless_gone(remove.await)?;
    Ok(cri::RemoveContainerResponse {})
}

pub(super) async fn list(
    shim: &Shim,
    request: cri::ListContainersRequest,
) -> Result<cri::ListContainersResponse, Status> {
    let containers = items(shim, request.filter).await?;
    Ok(cri::ListContainersResponse { containers })
}

pub(super) async fn stream(
    shim: &Shim,
    request: cri::StreamContainersRequest,
) -> Result<Lists<cri::StreamContainersResponse>, Status> {
    let items = items(shim, request.filter).await?;
    Ok(in_lists(items, |containers| cri::StreamContainersResponse {
        containers,
    }))
}

async fn items(shim: &Shim, filter: Option<cri::ContainerFilter>) -> Result<Vec<cri::Container>, Status> {
    let request = filter::containers(filter);
    let answer = shim
        .aurae
        .ask(shim.aurae.control.containers().list_containers(request))
        .await?;
    Ok(answer.containers.into_iter().map(container::item).collect())
}

pub(super) async fn status(
    shim: &Shim,
    request: cri::ContainerStatusRequest,
) -> Result<cri::ContainerStatusResponse, Status> {
    let found = shim.container(&request.container_id).await?;
    let mut status = container::status(&found);
    for mount in &mut status.mounts {
        if let Some(image) = &mut mount.image {
            image.image_ref = reference(shim, &image.image).await?;
        }
    }
    let info = if request.verbose {
        container::info(&found)
    } else {
        HashMap::new()
    };
    Ok(cri::ContainerStatusResponse {
        status: Some(status),
        info,
    })
}

/// What a mounted image is known by: `repository@digest` where it has one, else its id. Empty once it is gone.
async fn reference(shim: &Shim, image: &str) -> Result<String, Status> {
    let request = api::GetImageRequest {
        reference: image.to_owned(),
    };
    let answer = match shim
        .aurae
        .ask(shim.aurae.control.images().get_image(request))
        .await
    {
        Ok(answer) => answer,
        Err(status) if status.code() == Code::NotFound => return Ok(String::new()),
        Err(status) => return Err(status),
    };
    let image = answer.image.unwrap_or_default();
    Ok(image.digests.into_iter().next().unwrap_or(image.id))
}

pub(super) async fn update(
    shim: &Shim,
    request: cri::UpdateContainerResourcesRequest,
) -> Result<cri::UpdateContainerResourcesResponse, Status> {
    if request.windows.is_some() {
        return Err(Status::invalid_argument(
            "windows: this node is not a Windows node",
        ));
    }
    let resources =
        resources_update(&request.linux.unwrap_or_default()).map_err(|fields| refused(&fields))?;
    let request = api::UpdateContainerRequest {
        id: shim.container_id(&request.container_id).await?,
        resources: Some(resources),
    };
    shim.aurae
        .ask(shim.aurae.control.containers().update_container(request))
        .await?;
    Ok(cri::UpdateContainerResourcesResponse {})
}

pub(super) async fn reopen_log(
    shim: &Shim,
    request: cri::ReopenContainerLogRequest,
) -> Result<cri::ReopenContainerLogResponse, Status> {
    let id = shim.container_id(&request.container_id).await?;
    let request = api::ReopenContainerLogRequest { id };
    shim.aurae
        .ask(shim.aurae.control.containers().reopen_container_log(request))
        .await?;
    Ok(cri::ReopenContainerLogResponse {})
}
