//! `aurae.runtime.v0.SandboxService` and `ContainerService`: messages in, messages out.

use super::{Filter, SandboxError, Sandboxes};
use crate::runtime::writable::WritableLayers;
use crate::schedule::Engine;
use crate::server::status::Failure;
use api::container_service_server::ContainerService;
use api::sandbox_service_server::SandboxService;
use auraed_api::runtime::v0 as api;
use std::pin::Pin;
use std::time::Duration;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

/// Calls on sandboxes.
#[derive(Clone)]
pub struct SandboxCalls {
    sandboxes: Sandboxes,
    /// Whose ids are taken, too.
    engine: Engine,
    writable: WritableLayers,
}

/// Calls on containers.
#[derive(Clone)]
pub struct Containers {
    sandboxes: Sandboxes,
    writable: WritableLayers,
}

impl SandboxCalls {
    /// Serves sandboxes beside the engine's pods.
    pub(crate) fn new(sandboxes: Sandboxes, engine: Engine, writable: WritableLayers) -> Self {
        Self {
            sandboxes,
            engine,
            writable,
        }
    }
}

impl Containers {
    /// Serves the sandboxes' containers.
    pub(crate) fn new(sandboxes: Sandboxes, writable: WritableLayers) -> Self {
        Self { sandboxes, writable }
    }
}

#[tonic::async_trait]
impl SandboxService for SandboxCalls {
    type WatchSandboxesStream =
        Pin<Box<dyn Stream<Item = Result<api::WatchSandboxesResponse, Status>> + Send>>;

    async fn create_sandbox(
        &self,
        request: Request<api::CreateSandboxRequest>,
    ) -> Result<Response<api::CreateSandboxResponse>, Status> {
        let spec = request.into_inner().spec;
        let spec = spec.ok_or_else(|| Failure::argument("spec", "must be given"))?;
        if self.engine.has(&spec.id) {
            return Err(Failure::from(SandboxError::Foreign {
                id: spec.id,
                what: "pod",
            })
            .into_status());
        }
        let sandbox = Some(self.sandboxes.create(spec).await.map_err(Failure::from)?);
        Ok(Response::new(api::CreateSandboxResponse { sandbox }))
    }

    async fn stop_sandbox(
        &self,
        request: Request<api::StopSandboxRequest>,
    ) -> Result<Response<api::StopSandboxResponse>, Status> {
        let id = &request.get_ref().id;
        self.sandboxes.stop(id).await.map_err(Failure::from)?;
        Ok(Response::new(api::StopSandboxResponse {}))
    }

    async fn remove_sandbox(
        &self,
        request: Request<api::RemoveSandboxRequest>,
    ) -> Result<Response<api::RemoveSandboxResponse>, Status> {
        let id = &request.get_ref().id;
        self.sandboxes.remove(id).await.map_err(Failure::from)?;
        Ok(Response::new(api::RemoveSandboxResponse {}))
    }

    async fn get_sandbox(
        &self,
        request: Request<api::GetSandboxRequest>,
    ) -> Result<Response<api::GetSandboxResponse>, Status> {
        let found = self.sandboxes.get(&request.get_ref().id);
        let (sandbox, containers) = found.map_err(Failure::from)?;
        Ok(Response::new(api::GetSandboxResponse {
            sandbox: Some(sandbox),
            containers,
        }))
    }

    async fn list_sandboxes(
        &self,
        request: Request<api::ListSandboxesRequest>,
    ) -> Result<Response<api::ListSandboxesResponse>, Status> {
        let api::ListSandboxesRequest { id, labels, state } = request.into_inner();
        let mut sandboxes = self.sandboxes.list(&id, &labels).map_err(Failure::from)?;
        if state != 0 {
            sandboxes.retain(|sandbox| sandbox.state == state);
        }
        Ok(Response::new(api::ListSandboxesResponse { sandboxes }))
    }

    async fn update_sandbox(
        &self,
        request: Request<api::UpdateSandboxRequest>,
    ) -> Result<Response<api::UpdateSandboxResponse>, Status> {
        let api::UpdateSandboxRequest { id, resources } = request.into_inner();
        self.sandboxes
            .update(&id, resources)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(api::UpdateSandboxResponse {}))
    }

    async fn list_sandbox_stats(
        &self,
        request: Request<api::ListSandboxStatsRequest>,
    ) -> Result<Response<api::ListSandboxStatsResponse>, Status> {
        let api::ListSandboxStatsRequest { id, labels } = request.into_inner();
        let stats = self.sandboxes.stats(&id, &labels, &self.writable).await;
        let stats = stats.map_err(Failure::from)?;
        Ok(Response::new(api::ListSandboxStatsResponse { stats }))
    }

    async fn watch_sandboxes(
        &self,
        _: Request<api::WatchSandboxesRequest>,
    ) -> Result<Response<Self::WatchSandboxesStream>, Status> {
        let watcher = self.sandboxes.watch();
        let first = futures_util::stream::iter([Ok(api::WatchSandboxesResponse { event: None })]);
        let events = futures_util::stream::unfold(Some(watcher), |watcher| async {
            let mut watcher = watcher?;
            match watcher.next().await? {
                Ok(event) => {
                    let event = Some(event.as_ref().clone());
                    Some((Ok(api::WatchSandboxesResponse { event }), Some(watcher)))
                }
                // The last one: it has missed something.
                Err(error) => Some((Err(Failure::from(error).into_status()), None)),
            }
        });
        let all = futures_util::StreamExt::chain(first, events);
        Ok(Response::new(Box::pin(all)))
    }
}

#[tonic::async_trait]
impl ContainerService for Containers {
    async fn create_container(
        &self,
        request: Request<api::CreateContainerRequest>,
    ) -> Result<Response<api::CreateContainerResponse>, Status> {
        let spec = request.into_inner().spec;
        let spec = spec.ok_or_else(|| Failure::argument("spec", "must be given"))?;
        self.sandboxes
            .create_container(spec)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(api::CreateContainerResponse {}))
    }

    async fn start_container(
        &self,
        request: Request<api::StartContainerRequest>,
    ) -> Result<Response<api::StartContainerResponse>, Status> {
        let started = self.sandboxes.start_container(&request.get_ref().id).await;
        started.map_err(Failure::from)?;
        Ok(Response::new(api::StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        request: Request<api::StopContainerRequest>,
    ) -> Result<Response<api::StopContainerResponse>, Status> {
        let api::StopContainerRequest { id, grace_seconds } = request.into_inner();
        let stopped = self
            .sandboxes
            .stop_container(&id, Duration::from_secs(grace_seconds))
            .await;
        stopped.map_err(Failure::from)?;
        Ok(Response::new(api::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<api::RemoveContainerRequest>,
    ) -> Result<Response<api::RemoveContainerResponse>, Status> {
        let removed = self.sandboxes.remove_container(&request.get_ref().id).await;
        removed.map_err(Failure::from)?;
        Ok(Response::new(api::RemoveContainerResponse {}))
    }

    async fn get_container(
        &self,
        request: Request<api::GetContainerRequest>,
    ) -> Result<Response<api::GetContainerResponse>, Status> {
        let found = self.sandboxes.get_container(&request.get_ref().id);
        let container = Some(found.map_err(Failure::from)?);
        Ok(Response::new(api::GetContainerResponse { container }))
    }

    async fn list_containers(
        &self,
        request: Request<api::ListContainersRequest>,
    ) -> Result<Response<api::ListContainersResponse>, Status> {
        let api::ListContainersRequest {
            id,
            sandbox,
            labels,
            state,
        } = request.into_inner();
        let filter = Filter { id, sandbox, labels };
        let mut containers = self.sandboxes.list_containers(&filter).map_err(Failure::from)?;
        if state != 0 {
            containers.retain(|container| container.state == state);
        }
        Ok(Response::new(api::ListContainersResponse { containers }))
    }

    async fn update_container(
        &self,
        request: Request<api::UpdateContainerRequest>,
    ) -> Result<Response<api::UpdateContainerResponse>, Status> {
        let api::UpdateContainerRequest { id, resources } = request.into_inner();
        self.sandboxes
            .update_container(&id, resources)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(api::UpdateContainerResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<api::ReopenContainerLogRequest>,
    ) -> Result<Response<api::ReopenContainerLogResponse>, Status> {
        let reopened = self.sandboxes.reopen_log(&request.get_ref().id).await;
        reopened.map_err(Failure::from)?;
        Ok(Response::new(api::ReopenContainerLogResponse {}))
    }

    async fn list_container_stats(
        &self,
        request: Request<api::ListContainerStatsRequest>,
    ) -> Result<Response<api::ListContainerStatsResponse>, Status> {
        let api::ListContainerStatsRequest { id, sandbox, labels } = request.into_inner();
        let filter = Filter { id, sandbox, labels };
        let stats = self.sandboxes.container_stats(&filter, &self.writable).await;
        let stats = stats.map_err(Failure::from)?;
        Ok(Response::new(api::ListContainerStatsResponse { stats }))
    }
}
