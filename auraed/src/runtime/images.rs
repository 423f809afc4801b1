//! `aurae.runtime.v0.ImageService` over the image store.

mod import;
mod pull;
mod users;
mod wire;

use crate::runtime::Sandboxes;
use crate::runtime::writable::WritableLayers;
use crate::schedule::Engine;
use crate::server::status::Failure;
use auraed_api::runtime::v0 as api;
use auraed_api::runtime::v0::image_service_server::ImageService;
use auraed_image::{Image, Pinned, Removed, Store, WhileUsed};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use users::Users;

/// The service.
#[derive(Clone)]
pub struct Images {
    store: Store,
    /// Say which images are in use.
    users: Users,
    pinned: Arc<Pinned>,
    writable: WritableLayers,
    /// There is an image that goes when it is not used any more.
    retired: Arc<Notify>,
}

impl Images {
    /// Serves the store's images, and keeps those that the engines' containers use. The task ends with `stop`.
    #[must_use]
    pub(crate) fn start(
        store: Store,
        engine: Engine,
        sandboxes: Sandboxes,
        pinned: Pinned,
        writable: WritableLayers,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let images = Self {
            store,
            users: Users::new(engine, sandboxes),
            pinned: Arc::new(pinned),
            writable,
            retired: Arc::default(),
        };
        // An earlier daemon may have left some.
        images.retired.notify_one();
        let (store, users) = (images.store.clone(), images.users.clone());
        let tidying = tokio::spawn(users::tidy(store, users, Arc::clone(&images.retired), stop));
        (images, tidying)
    }

    /// What containers wrote, measured for all who ask.
    pub(crate) fn writable(&self) -> &WritableLayers {
        &self.writable
    }

    fn image(&self, image: &Image) -> api::Image {
        wire::image(image, self.pinned.has(image))
    }
}

#[tonic::async_trait]
impl ImageService for Images {
    type PullImageStream = Pin<Box<dyn Stream<Item = Result<api::PullImageResponse, Status>> + Send>>;

    async fn pull_image(
        &self,
        request: Request<api::PullImageRequest>,
    ) -> Result<Response<Self::PullImageStream>, Status> {
        let progress = pull::pull(self.clone(), request.into_inner())?;
        Ok(Response::new(Box::pin(progress)))
    }

    async fn import_image(
        &self,
        request: Request<Streaming<api::ImportImageRequest>>,
    ) -> Result<Response<api::ImportImageResponse>, Status> {
        let images = import::import(&self.store, request.into_inner()).await?;
        let images = images.iter().map(|image| self.image(image)).collect();
        Ok(Response::new(api::ImportImageResponse { images }))
    }

    async fn list_images(
        &self,
        _: Request<api::ListImagesRequest>,
    ) -> Result<Response<api::ListImagesResponse>, Status> {
        let images = self.store.list().iter().map(|image| self.image(image)).collect();
        Ok(Response::new(api::ListImagesResponse { images }))
    }

    async fn get_image(
        &self,
        request: Request<api::GetImageRequest>,
    ) -> Result<Response<api::GetImageResponse>, Status> {
        let reference = request.into_inner().reference;
        let image = self.store.get(&reference).ok_or(Failure::NoImage { reference })?;
        let image = Some(self.image(&image));
        Ok(Response::new(api::GetImageResponse { image }))
    }

    async fn remove_image(
        &self,
        request: Request<api::RemoveImageRequest>,
    ) -> Result<Response<api::RemoveImageResponse>, Status> {
        let api::RemoveImageRequest {
            reference,
            unless_used,
        } = request.into_inner();
        let while_used = if unless_used {
            WhileUsed::Refuse
        } else {
            WhileUsed::Keep
        };
        let in_use = |image: &Image| self.users.use_image(image);
        let removed = self.store.remove(&reference, while_used, in_use).await;
        if removed.map_err(Failure::from)? == Removed::Retired {
            self.retired.notify_one();
        }
        Ok(Response::new(api::RemoveImageResponse {}))
    }

    async fn get_image_usage(
        &self,
        _: Request<api::GetImageUsageRequest>,
    ) -> Result<Response<api::GetImageUsageResponse>, Status> {
        let written = self.writable.usage().await.map_err(Failure::Usage)?;
        Ok(Response::new(api::GetImageUsageResponse {
            images: Some(wire::usage(self.store.directory(), self.store.usage())),
            containers: Some(wire::usage(self.writable.directory(), written.all)),
        }))
    }
}
