//! `aurae.mount.v0.MountService` over the engine, which owns every pod's volumes.

use super::status::Failure;
use crate::schedule::Engine;
use auraed_api::mount::v0 as api;
use auraed_api::mount::v0::mount_service_server::MountService;
use auraed_types::VolumeName;
use auraed_types::pod::check_files;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub(crate) struct Mount {
    engine: Engine,
}

impl Mount {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl MountService for Mount {
    async fn update_files(
        &self,
        request: Request<api::UpdateFilesRequest>,
    ) -> Result<Response<api::UpdateFilesResponse>, Status> {
        let api::UpdateFilesRequest { pod, volume, files } = request.into_inner();
        let volume = VolumeName::new(volume)
            .map_err(|error| Failure::argument("volume", error.to_string()))
            .map_err(Failure::into_status)?;
        let files = check_files(files.unwrap_or_default()).map_err(Failure::Pod)?;
        let changed = self
            .engine
            .update_files(&pod, &volume, files)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(api::UpdateFilesResponse { changed }))
    }
}
