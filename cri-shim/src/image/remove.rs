//! RemoveImage: the image with all its names, whichever of them is given.

use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use tonic::Status;

use super::list;
use crate::shim::{Shim, present, unless_gone};

/// What containers use goes on being used; the image is not found any more.
pub(super) async fn remove(
    shim: &Shim,
    request: cri::RemoveImageRequest,
) -> Result<cri::RemoveImageResponse, Status> {
    let name = request.image.unwrap_or_default().image;
    present("image.image", &name)?;
    if let Some(image) = list::find(shim, name).await? {
        let request = api::RemoveImageRequest {
            reference: image.id,
            ..Default::default()
        };
        let call = shim
            .aurae
            .ask(shim.aurae.control.images().remove_image(request))
            .await;
        unless_gone(call.map(drop))?;
    }
    Ok(cri::RemoveImageResponse {})
}
