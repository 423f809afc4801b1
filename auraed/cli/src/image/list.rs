//! `aurae images`.

use super::IMAGE;
use crate::failure::Failure;
use crate::message;
use crate::printer;
use crate::ps::age;
use crate::session::Session;
use auraed_api::runtime::v0::{Image, ListImagesRequest};
use indicatif::HumanBytes;

/// One line a name.
pub(crate) async fn list(session: &Session) -> Result<(), Failure> {
    let images = session
        .connect()
        .await?
        .images()
        .list_images(ListImagesRequest {})
        .await?
        .into_inner()
        .images;
    if session.json() {
        let images = images
            .iter()
            .map(|image| message::to_json(IMAGE, image))
            .collect::<Result<Vec<_>, _>>()?;
        return Ok(printer::json(&serde_json::json!({ "images": images }))?);
    }
    Ok(printer::table(
        &["IMAGE", "ID", "SIZE", "CREATED"],
        images.iter().flat_map(rows),
    )?)
}

fn rows(image: &Image) -> Vec<Vec<String>> {
    let names: Vec<&String> = if image.tags.is_empty() {
        image.digests.iter().collect()
    } else {
        image.tags.iter().collect()
    };
    let id = image
        .id
        .trim_start_matches("sha256:")
        .chars()
        .take(12)
        .collect::<String>();
    let row = |name: &str| {
        vec![
            name.to_owned(),
            id.clone(),
            HumanBytes(image.size_bytes).to_string(),
            age(image.created_at.as_ref()),
        ]
    };
    if names.is_empty() {
        vec![row("<none>")]
    } else {
        names.into_iter().map(|name| row(name)).collect()
    }
}
