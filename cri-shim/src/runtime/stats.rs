//! ContainerStats, ListContainerStats, StreamContainerStats, PodSandboxStats, ListPodSandboxStats, StreamPodSandboxStats.

use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use tonic::Status;
use translation::cri::{filter, stats};

use super::{Lists, in_lists};
use crate::shim::{Shim, present};

pub(super) async fn container(
    shim: &Shim,
    request: cri::ContainerStatsRequest,
) -> Result<cri::ContainerStatsResponse, Status> {
    present("container_id", &request.container_id)?;
    let filter = cri::ContainerStatsFilter {
        id: request.container_id.clone(),
        ..Default::default()
    };
    let stats = of_containers(shim, Some(filter)).await?.into_iter().next();
    match stats {
        Some(stats) => Ok(cri::ContainerStatsResponse { stats: Some(stats) }),
        None => Err(Status::not_found(format!(
            "there is no container {} that has figures",
            request.container_id
        ))),
    }
}

pub(super) async fn containers(
    shim: &Shim,
    request: cri::ListContainerStatsRequest,
) -> Result<cri::ListContainerStatsResponse, Status> {
    let stats = of_containers(shim, request.filter).await?;
    Ok(cri::ListContainerStatsResponse { stats })
}

pub(super) async fn stream_containers(
    shim: &Shim,
    request: cri::StreamContainerStatsRequest,
) -> Result<Lists<cri::StreamContainerStatsResponse>, Status> {
    let stats = of_containers(shim, request.filter).await?;
    Ok(in_lists(stats, |container_stats| {
        cri::StreamContainerStatsResponse { container_stats }
    }))
}

async fn of_containers(
    shim: &Shim,
    filter: Option<cri::ContainerStatsFilter>,
) -> Result<Vec<cri::ContainerStats>, Status> {
    let request = filter::container_stats(filter);
    let answer = shim
        .aurae
        .ask(shim.aurae.control.containers().list_container_stats(request))
        .await?;
    Ok(answer.stats.into_iter().map(stats::container).collect())
}

pub(super) async fn sandbox(
    shim: &Shim,
    request: cri::PodSandboxStatsRequest,
) -> Result<cri::PodSandboxStatsResponse, Status> {
    present("pod_sandbox_id", &request.pod_sandbox_id)?;
    let filter = cri::PodSandboxStatsFilter {
        id: request.pod_sandbox_id.clone(),
        ..Default::default()
    };
    let stats = of_sandboxes(shim, Some(filter)).await?.into_iter().next();
    match stats {
        Some(stats) => Ok(cri::PodSandboxStatsResponse { stats: Some(stats) }),
        None => Err(Status::not_found(format!(
            "there is no sandbox {} that has figures",
            request.pod_sandbox_id
        ))),
    }
}

pub(super) async fn sandboxes(
    shim: &Shim,
    request: cri::ListPodSandboxStatsRequest,
) -> Result<cri::ListPodSandboxStatsResponse, Status> {
    let stats = of_sandboxes(shim, request.filter).await?;
    Ok(cri::ListPodSandboxStatsResponse { stats })
}

pub(super) async fn stream_sandboxes(
    shim: &Shim,
    request: cri::StreamPodSandboxStatsRequest,
) -> Result<Lists<cri::StreamPodSandboxStatsResponse>, Status> {
    let stats = of_sandboxes(shim, request.filter).await?;
    Ok(in_lists(stats, |pod_sandbox_stats| {
        cri::StreamPodSandboxStatsResponse { pod_sandbox_stats }
    }))
}

async fn of_sandboxes(
    shim: &Shim,
    filter: Option<cri::PodSandboxStatsFilter>,
) -> Result<Vec<cri::PodSandboxStats>, Status> {
    let answer = ask(shim, filter::sandbox_stats(filter)).await?;
    Ok(answer.into_iter().map(stats::sandbox).collect())
}

/// Figures as auraed has them.
pub(super) async fn ask(
    shim: &Shim,
    request: api::ListSandboxStatsRequest,
) -> Result<Vec<api::SandboxStats>, Status> {
    let answer = shim
        .aurae
        .ask(shim.aurae.control.sandboxes().list_sandbox_stats(request))
        .await?;
    Ok(answer.stats)
}
