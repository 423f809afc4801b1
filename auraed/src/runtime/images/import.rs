//! ImportImage: an archive as a stream of chunks.

use crate::server::status::Failure;
use auraed_api::runtime::v0 as api;
use auraed_image::{Image, Store};
use futures_util::StreamExt;
use std::io;
use std::sync::Arc;
use tokio_util::io::StreamReader;
use tonic::{Status, Streaming};

pub(super) async fn import(
    store: &Store,
    mut requests: Streaming<api::ImportImageRequest>,
) -> Result<Vec<Arc<Image>>, Status> {
    let first = requests.message().await?;
    let first =
        first.ok_or_else(|| Failure::argument("chunk", "must be sent at least once").into_status())?;
    let reference = (!first.reference.is_empty()).then_some(first.reference);
    let rest = requests.map(|message| match message {
        Ok(message) => Ok(io::Cursor::new(message.chunk)),
        Err(status) => Err(io::Error::other(status)),
    });
    let chunks = futures_util::stream::iter([Ok(io::Cursor::new(first.chunk))]).chain(rest);
    let archive = StreamReader::new(chunks);
    let images = store.import(Box::pin(archive), reference.as_deref()).await;
    Ok(images.map_err(Failure::from)?)
}
