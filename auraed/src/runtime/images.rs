//! `aurae.runtime.v0.ImageService` over the image store.

mod import;
mod pull;
mod wire;

use crate::schedule::Engine;
use crate::server::status::Failure;
use auraed_api::runtime::v0 as api;
use auraed_api::runtime::v0::image_service_server::ImageService;
use auraed_image::Store;
use std::pin::Pin;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

/// The service.
#[derive(Clone)]
pub struct Images {
    store: Store,
    /// Says which images are in use.
    engine: Engine,
}

impl Images {
    /// Serves the store's images, and keeps those that the engine's pods use.
    #[must_use]
    pub fn new(store: Store, engine: Engine) -> Self {
        Self { store, engine }
    }
}

#[tonic::async_trait]
impl ImageService for Images {
    type PullImageStream = Pin<Box<dyn Stream<Item = Result<api::PullImageResponse, Status>> + Send>>;

    async fn pull_image(
        &self,
        request: Request<api::PullImageRequest>,
    ) -> Result<Response<Self::PullImageStream>, Status> {
        let progress = pull::pull(self.store.clone(), request.into_inner())?;
        Ok(Response::new(Box::pin(progress)))
    }

    async fn import_image(
        &self,
        request: Request<Streaming<api::ImportImageRequest>>,
    ) -> Result<Response<api::ImportImageResponse>, Status> {
        let images = import::import(&self.store, request.into_inner()).await?;
        Ok(Response::new(api::ImportImageResponse { images }))
    }

    async fn list_images(
        &self,
        _: Request<api::ListImagesRequest>,
    ) -> Result<Response<api::ListImagesResponse>, Status> {
        let images = self.store.list().iter().map(|image| wire::image(image)).collect();
        Ok(Response::new(api::ListImagesResponse { images }))
    }

    async fn get_image(
        &self,
        request: Request<api::GetImageRequest>,
    ) -> Result<Response<api::GetImageResponse>, Status> {
        let reference = request.into_inner().reference;
        let image = self.store.get(&reference).ok_or(Failure::NoImage { reference })?;
        Ok(Response::new(api::GetImageResponse {
            image: Some(wire::image(&image)),
        }))
    }

    async fn remove_image(
        &self,
        request: Request<api::RemoveImageRequest>,
    ) -> Result<Response<api::RemoveImageResponse>, Status> {
        let reference = request.into_inner().reference;
        let in_use = |image: &auraed_image::Image| self.engine.uses_image(image);
        self.store
            .remove(&reference, in_use)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(api::RemoveImageResponse {}))
    }

    async fn get_image_usage(
        &self,
        _: Request<api::GetImageUsageRequest>,
    ) -> Result<Response<api::GetImageUsageResponse>, Status> {
        Err(Status::unimplemented("image usage"))
    }
}
