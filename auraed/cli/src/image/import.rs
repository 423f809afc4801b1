//! `aurae image import`.

use super::IMAGE;
use crate::arguments::ImportOptions;
use crate::failure::Failure;
use crate::message;
use crate::printer;
use crate::session::Session;
use auraed_api::runtime::v0::ImportImageRequest;
use indicatif::ProgressBar;
use std::path::Path;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes a message, and messages under way.
const CHUNK_BYTES: usize = 512 * 1024;
const QUEUE: usize = 4;

/// Sends the archive and prints the names of what was in it.
pub(crate) async fn import(session: &Session, options: ImportOptions) -> Result<(), Failure> {
    let (archive, length): (Box<dyn AsyncRead + Send + Unpin>, u64) = if options.archive == Path::new("-") {
        (Box::new(tokio::io::stdin()), 0)
    } else {
        let file = fs_err::tokio::File::open(&options.archive).await?;
        let length = file.metadata().await?.len();
        (Box::new(file), length)
    };
    let bar = if session.json() {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(length)
    };
    let (sender, receiver) = mpsc::channel(QUEUE);
    let client = session.connect().await?;
    let sending = tokio::spawn(send(
        archive,
        options.reference.unwrap_or_default(),
        sender,
        bar.clone(),
    ));
    let answer = client.images().import_image(ReceiverStream::new(receiver)).await;
    bar.finish_and_clear();
    // An archive that cannot be read on ends early for the daemon, whose complaint says less. Where the daemon has had
    // enough before its end, standard input may never end.
    if answer.is_ok() || sending.is_finished() {
        sending.await.map_err(|error| Failure::new(error.to_string()))??;
    }
    let answer = answer?;
    for image in answer.into_inner().images {
        if session.json() {
            printer::json_line(&message::to_json(IMAGE, &image)?)?;
        } else {
            printer::line(super::display_name(&image))?;
        }
    }
    Ok(())
}

async fn send(
    mut archive: impl AsyncRead + Unpin,
    mut reference: String,
    requests: mpsc::Sender<ImportImageRequest>,
    bar: ProgressBar,
) -> std::io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        if archive.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        bar.inc(chunk.len() as u64);
        let request = ImportImageRequest {
            chunk,
            reference: std::mem::take(&mut reference),
        };
        if requests.send(request).await.is_err() {
            // The daemon has answered already, with what is wrong.
            return Ok(());
        }
    }
}
