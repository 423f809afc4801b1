//! PullImage.

use api::pull_image_response::Event;
use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use tonic::Status;
use tonic_types::StatusExt as _;
use translation::cri::credentials;

use crate::shim::{Shim, empty, present, refused};

/// The word by which kubelet knows that the registry is at fault and not the image (`ErrRegistryUnavailable`).
const KUBELETS: &str = "RegistryUnavailable";

/// auraed's word for it.
const AURAES: &str = "REGISTRY_UNAVAILABLE";

/// Answers with the image's id. The sandbox's configuration has no say: an image is the node's.
pub(super) async fn pull(
    shim: &Shim,
    request: cri::PullImageRequest,
) -> Result<cri::PullImageResponse, Status> {
    let reference = request.image.unwrap_or_default().image;
    present("image.image", &reference)?;
    let credentials = match &request.auth {
        Some(auth) => credentials(auth).map_err(|fields| refused(&fields))?,
        None => None,
    };
    let request = api::PullImageRequest {
        reference,
        credentials: credentials.into_iter().collect(),
    };
    let pull = async {
        let mut progress = shim
            .aurae
            .ask(shim.aurae.streams.images().pull_image(request))
            .await?;
        while let Some(message) = shim.aurae.next(&mut progress).await? {
            if let Some(Event::Image(image)) = message.event {
                return Ok(image);
            }
        }
        Err(empty("an image"))
    };
    let image = pull.await.map_err(|status| in_kubelets_words(&status))?;
    Ok(cri::PullImageResponse { image_ref: image.id })
}

fn in_kubelets_words(status: &Status) -> Status {
    let registry = status
        .get_details_error_info()
        .is_some_and(|info| info.reason == AURAES);
    if registry {
        Status::new(status.code(), format!("{KUBELETS}: {}", status.message()))
    } else {
        status.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;
    use tonic_types::ErrorDetails;

    #[test]
    fn a_registry_that_is_away_is_told_in_kubelets_words() {
        let details = ErrorDetails::with_error_info(AURAES, "aurae", [("a".to_owned(), "b".to_owned())]);
        let status = Status::with_error_details(Code::Unavailable, "no route to host", details);
        assert_eq!(
            in_kubelets_words(&status).message(),
            "RegistryUnavailable: no route to host"
        );
        let other = Status::unavailable("auraed cannot be reached");
        assert_eq!(in_kubelets_words(&other).message(), other.message());
    }
}
