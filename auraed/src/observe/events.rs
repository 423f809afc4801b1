//! Events: the history that the engine keeps, a mark, then each event as it happens.

use crate::schedule::{Engine, EngineError, EventReader};
use crate::server::status::Failure;
use auraed_api::observe::v0 as api;
use auraed_types::PodId;
use auraed_types::event::Event;
use tokio_stream::Stream;
use tonic::Status;

/// Where a client's stream is.
enum Position {
    History(EventReader),
    Live(EventReader),
    End,
}

pub(super) fn events(
    engine: &Engine,
    request: api::EventsRequest,
) -> Result<impl Stream<Item = Result<api::EventsResponse, Status>> + Send + 'static, Failure> {
    let only = if request.pod.is_empty() {
        None
    } else {
        Some(pod_id(engine, &request.pod)?)
    };
    let reader = engine.events().read(only);
    let follow = request.follow;
    Ok(futures_util::stream::unfold(
        Position::History(reader),
        move |position| async move {
            match position {
                Position::History(mut reader) => match reader.try_next() {
                    Some(event) => Some((Ok(told(&event)), Position::History(reader))),
                    None if follow => Some((Ok(synced()), Position::Live(reader))),
                    None => Some((Ok(synced()), Position::End)),
                },
                Position::Live(mut reader) => {
                    let event = reader.next().await?;
                    Some((Ok(told(&event)), Position::Live(reader)))
                }
                Position::End => None,
            }
        },
    ))
}

/// A pod that is gone may still have a history, under its id.
fn pod_id(engine: &Engine, reference: &str) -> Result<PodId, Failure> {
    match engine.get(reference) {
        Ok(status) => Ok(status.id.clone()),
        Err(error @ EngineError::PodNotFound { .. }) => PodId::new(reference).map_err(|_| error.into()),
        Err(error) => Err(error.into()),
    }
}

fn told(event: &Event) -> api::EventsResponse {
    api::EventsResponse {
        event: Some(event.into()),
        synced: false,
    }
}

fn synced() -> api::EventsResponse {
    api::EventsResponse {
        event: None,
        synced: true,
    }
}
