//! Statuses of pods, from auraed: one stream, which begins with all of them. It is also how the bridge knows whether
//! auraed is there: it says so once when it goes and once when it is back.

use std::sync::Arc;
use std::time::Duration;

use auraed_api::schedule::v0::{WatchRequest, watch_response};
use tokio::sync::watch;
use tonic::Status;

use crate::aurae::Aurae;
use crate::backoff::Backoff;
use crate::node::Link;
use crate::pods::{Input, Inputs};

/// Follows for ever.
pub async fn follow(aurae: Aurae, inputs: Inputs, link: watch::Sender<Link>) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        let ended = one(&aurae, &inputs, &link, &mut backoff).await;
        if inputs.send(Input::AuraeLost).await.is_err() {
            return;
        }
        let reason = match ended {
            Ok(()) => "it ended the watch of pods".to_owned(),
            Err(status) => crate::aurae::reason(&status),
        };
        if !matches!(*link.borrow(), Link::Down(_)) {
            tracing::warn!("auraed is away, retrying: {reason}");
        }
        link.send_if_modified(|link| {
            let news = !matches!(link, Link::Down(_));
            *link = Link::Down(reason);
            news
        });
        aurae.maybe_back(backoff.delay()).await;
    }
}

async fn one(
    aurae: &Aurae,
    inputs: &Inputs,
    link: &watch::Sender<Link>,
    backoff: &mut Backoff,
) -> Result<(), Status> {
    let request = WatchRequest { pod: String::new() };
    let mut stream = aurae.control.schedule().watch(request).await?.into_inner();
    // The answer's head may come before auraed is ready to speak: only words count.
    let mut begun = false;
    while let Some(message) = stream.message().await? {
        if !begun {
            begun = true;
            if inputs.send(Input::AuraeBegins).await.is_err() {
                return Ok(());
            }
        }
        let input = match message.event {
            Some(watch_response::Event::Changed(status)) => Input::AuraeStatus(Arc::new(status)),
            Some(watch_response::Event::Removed(id)) => Input::AuraeRemoved(id),
            Some(watch_response::Event::Synced(_)) => {
                backoff.reset();
                if !matches!(*link.borrow(), Link::Up) {
                    tracing::info!("auraed is there");
                }
                link.send_if_modified(|link| std::mem::replace(link, Link::Up) != Link::Up);
                Input::AuraeComplete
            }
            None => continue,
        };
        if inputs.send(input).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
