//! ImageService: ListImages, StreamImages, ImageStatus, PullImage, RemoveImage, ImageFsInfo.

use cri_api::v1 as cri;
use cri_api::v1::image_service_server::ImageService;
use tonic::{Request, async_trait};

use crate::runtime::Lists;
use crate::shim::Shim;
use crate::told::{Answer, told};

mod list;
mod pull;
mod remove;
mod usage;

#[async_trait]
impl ImageService for Shim {
    type StreamImagesStream = Lists<cri::StreamImagesResponse>;

    async fn list_images(&self, request: Request<cri::ListImagesRequest>) -> Answer<cri::ListImagesResponse> {
        told("ListImages", list::list(self, request.into_inner())).await
    }

    async fn stream_images(
        &self,
        request: Request<cri::StreamImagesRequest>,
    ) -> Answer<Self::StreamImagesStream> {
        told("StreamImages", list::stream(self, request.into_inner())).await
    }

    async fn image_status(
        &self,
        request: Request<cri::ImageStatusRequest>,
    ) -> Answer<cri::ImageStatusResponse> {
        told("ImageStatus", list::status(self, request.into_inner())).await
    }

    async fn pull_image(&self, request: Request<cri::PullImageRequest>) -> Answer<cri::PullImageResponse> {
        told("PullImage", pull::pull(self, request.into_inner())).await
    }

    async fn remove_image(
        &self,
        request: Request<cri::RemoveImageRequest>,
    ) -> Answer<cri::RemoveImageResponse> {
        told("RemoveImage", remove::remove(self, request.into_inner())).await
    }

    async fn image_fs_info(&self, _: Request<cri::ImageFsInfoRequest>) -> Answer<cri::ImageFsInfoResponse> {
        told("ImageFsInfo", usage::usage(self)).await
    }
}
