//! `aurae images`, `aurae pull`, `aurae image …`.

mod import;
mod list;
mod pull;
mod remove;

pub(crate) use import::import;
pub(crate) use list::list;
pub(crate) use pull::pull;
pub(crate) use remove::remove;

/// The full name of the message that every image command prints.
const IMAGE: &str = "aurae.runtime.v0.Image";

/// The name that people know an image by, else its id.
fn display_name(image: &auraed_api::runtime::v0::Image) -> &str {
    image
        .tags
        .first()
        .or_else(|| image.digests.first())
        .unwrap_or(&image.id)
}
