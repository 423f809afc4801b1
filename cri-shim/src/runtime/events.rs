//! GetContainerEvents: auraed's events, for as long as the caller listens.
//!
//! ```text
//! watch of auraed ─event─► translated ─► caller
//!      │ ended (auraed went away, or this caller was too slow)
//!      └──► wait for its socket ─► watch anew
//! ```
//!
//! The call is answered once the watch stands, or auraed turned out to be away: what happens after that is told. What
//! happened while auraed was away is not; the caller's lists tell it, which it makes each second anyway.
//! The stream ends with the caller, with this program, or where auraed refuses to be watched.

use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use translation::cri::event;

use crate::presence::Presence;
use crate::shim::Shim;

/// Events that wait for a slow caller; then auraed's own queue fills.
const WAITING: usize = 64;

type Events = mpsc::Sender<Result<cri::ContainerEventResponse, Status>>;

pub(super) async fn watch(
    shim: &Shim,
) -> Result<ReceiverStream<Result<cri::ContainerEventResponse, Status>>, Status> {
    let (events, stream) = mpsc::channel(WAITING);
    let (begun, has_begun) = oneshot::channel();
    tokio::spawn(follow(shim.clone(), events, begun));
    // Dropped unsent where there is no watch yet.
    let _ = has_begun.await;
    Ok(ReceiverStream::new(stream))
}

async fn follow(shim: Shim, events: Events, begun: oneshot::Sender<()>) {
    let mut begun = Some(begun);
    let watch = async {
        loop {
            let mut presence = Presence::of(&shim.aurae.socket);
            let outcome = pass_on(&shim, &events, &mut begun).await;
            drop(begun.take());
            let Err(status) = outcome else {
                return;
            };
            match status.code() {
                Code::Unavailable | Code::Cancelled => presence.changed().await,
                // Too slow: what was missed is missed.
                Code::ResourceExhausted => {}
                _ => {
                    let _ = events.send(Err(status)).await;
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = watch => {}
        () = events.closed() => {}
        () = shim.stop.cancelled() => {}
    }
}

/// Ends well where the caller is gone; otherwise with why the watch ended.
async fn pass_on(
    shim: &Shim,
    events: &Events,
    begun: &mut Option<oneshot::Sender<()>>,
) -> Result<(), Status> {
    let request = api::WatchSandboxesRequest {};
    let mut watch = shim
        .aurae
        .ask(shim.aurae.streams.sandboxes().watch_sandboxes(request))
        .await?;
    while let Some(message) = shim.aurae.next(&mut watch).await? {
        if let Some(begun) = begun.take() {
            // Nobody waits where the caller went away.
            let _ = begun.send(());
        }
        let Some(event) = message.event.as_ref().and_then(event::translate) else {
            continue;
        };
        if events.send(Ok(event)).await.is_err() {
            return Ok(());
        }
    }
    Err(Status::unavailable("auraed ended the watch"))
}
