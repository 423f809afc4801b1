//! `aurae image rm`.

use crate::arguments::ImageRmOptions;
use crate::failure::Failure;
use crate::printer;
use crate::session::Session;
use auraed_api::runtime::v0::RemoveImageRequest;

/// Takes the names away, and prints each.
pub(crate) async fn remove(session: &Session, options: ImageRmOptions) -> Result<(), Failure> {
    let mut images = session.connect().await?.images();
    for reference in options.references {
        images
            .remove_image(RemoveImageRequest {
                reference: reference.clone(),
                unless_used: true,
            })
            .await?;
        printer::line(&reference)?;
    }
    Ok(())
}
