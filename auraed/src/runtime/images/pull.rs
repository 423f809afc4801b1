//! PullImage: progress of each layer, then the image. A client that goes away cancels its pull, unless others want it.

use super::{Images, wire};
use crate::server::status::Failure;
use api::pull_image_response::Event;
use auraed_api::runtime::v0 as api;
use auraed_image::{Progress, Reference};
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Messages that wait for a slow client.
const WAITING: usize = 16;

type Answer = Result<api::PullImageResponse, Status>;

pub(super) fn pull(
    images: Images,
    request: api::PullImageRequest,
) -> Result<ReceiverStream<Answer>, Failure> {
    let text = request.reference;
    let reference = text.parse::<Reference>().map_err(|source| Failure::Reference {
        text: text.clone(),
        source,
    })?;
    let credentials: Vec<_> = request.credentials.into_iter().map(wire::credentials).collect();
    let (answers, stream) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let (tell, told) = mpsc::unbounded_channel();
        let pulling = images.store.pull(&reference, &credentials, tell);
        let last = tokio::select! {
            // The channel of the progress closes with the pull, so the forwarding ends by itself.
            (result, ()) = async { tokio::join!(pulling, forward(told, &answers)) } => result,
            () = answers.closed() => return,
        };
        let last = match last {
            Ok(image) => Ok(answer(Event::Image(images.image(&image)))),
            Err(error) => Err(Failure::from(error).into_status()),
        };
        let _ = answers.send(last).await;
    });
    Ok(ReceiverStream::new(stream))
}

/// Sends the newest progress of each layer, however fast it comes: a slow client sees fewer steps, not older ones.
async fn forward(mut told: mpsc::UnboundedReceiver<Progress>, answers: &mpsc::Sender<Answer>) {
    while let Some(first) = told.recv().await {
        let mut newest = BTreeMap::from([(first.digest.to_string(), first)]);
        while let Ok(next) = told.try_recv() {
            newest.insert(next.digest.to_string(), next);
        }
        for progress in newest.values() {
            if answers
                .send(Ok(answer(Event::Layer(wire::progress(progress)))))
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

fn answer(event: Event) -> api::PullImageResponse {
    api::PullImageResponse { event: Some(event) }
}
