//! ListImages, StreamImages, ImageStatus.

use std::collections::HashMap;

use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use tonic::{Code, Status};
use translation::cri::image;

use crate::runtime::{Lists, in_lists};
use crate::shim::{Shim, present};

pub(super) async fn list(
    shim: &Shim,
    request: cri::ListImagesRequest,
) -> Result<cri::ListImagesResponse, Status> {
    let images = images(shim, request.filter).await?;
    Ok(cri::ListImagesResponse { images })
}

pub(super) async fn stream(
    shim: &Shim,
    request: cri::StreamImagesRequest,
) -> Result<Lists<cri::StreamImagesResponse>, Status> {
    let images = images(shim, request.filter).await?;
    Ok(in_lists(images, |images| cri::StreamImagesResponse { images }))
}

/// An image that is not there is an empty answer.
pub(super) async fn status(
    shim: &Shim,
    request: cri::ImageStatusRequest,
) -> Result<cri::ImageStatusResponse, Status> {
    let name = request.image.unwrap_or_default().image;
    present("image.image", &name)?;
    let found = find(shim, name).await?;
    let info = match &found {
        Some(found) if request.verbose => image::info(found),
        _ => HashMap::new(),
    };
    Ok(cri::ImageStatusResponse {
        image: found.as_ref().map(image::image),
        info,
    })
}

/// All, or the one that the filter names.
async fn images(shim: &Shim, filter: Option<cri::ImageFilter>) -> Result<Vec<cri::Image>, Status> {
    let name = filter.and_then(|filter| filter.image).unwrap_or_default().image;
    let found = if name.is_empty() {
        let request = api::ListImagesRequest {};
        let answer = shim
            .aurae
            .ask(shim.aurae.control.images().list_images(request))
            .await?;
        answer.images
    } else {
        find(shim, name).await?.into_iter().collect()
    };
    Ok(found.iter().map(image::image).collect())
}

/// By name, digest or id.
pub(super) async fn find(shim: &Shim, reference: String) -> Result<Option<api::Image>, Status> {
    let request = api::GetImageRequest { reference };
    match shim
        .aurae
        .ask(shim.aurae.control.images().get_image(request))
        .await
    {
        Ok(answer) => Ok(answer.image),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}
