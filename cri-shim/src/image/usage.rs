//! ImageFsInfo.

use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use tonic::Status;
use translation::cri::image;

use crate::shim::{Shim, now};

pub(super) async fn usage(shim: &Shim) -> Result<cri::ImageFsInfoResponse, Status> {
    let request = api::GetImageUsageRequest {};
    let usage = shim
        .aurae
        .ask(shim.aurae.control.images().get_image_usage(request))
        .await?;
    Ok(image::file_systems(&usage, now()))
}
