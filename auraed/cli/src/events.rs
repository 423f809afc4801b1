//! `aurae events`: what happened to pods.

use crate::arguments::EventsOptions;
use crate::failure::Failure;
use crate::message;
use crate::printer;
use crate::ps::age;
use crate::session::Session;
use auraed_api::observe::v0::{Event, EventsRequest};

/// Prints the history, then each event as it happens where that is wanted.
pub(crate) async fn events(session: &Session, options: EventsOptions) -> Result<(), Failure> {
    let request = EventsRequest {
        pod: options.pod.unwrap_or_default(),
        follow: options.follow,
    };
    let mut stream = session
        .connect()
        .await?
        .observe()
        .events(request)
        .await?
        .into_inner();
    let mut history = Vec::new();
    let mut live = false;
    while let Some(response) = stream.message().await? {
        if response.synced {
            live = true;
            print_history(session, &std::mem::take(&mut history))?;
        }
        match response.event {
            Some(event) if session.json() => {
                printer::json_line(&message::to_json("aurae.observe.v0.Event", &event)?)?
            }
            Some(event) if live => printer::line(&sentence(&event))?,
            Some(event) => history.push(event),
            None => {}
        }
    }
    print_history(session, &history)
}

fn print_history(session: &Session, events: &[Event]) -> Result<(), Failure> {
    if session.json() || events.is_empty() {
        return Ok(());
    }
    let row = |event: &Event| {
        vec![
            age(event.time.as_ref()),
            kind(event).into(),
            event.reason.clone(),
            object(event),
            event.message.clone(),
        ]
    };
    Ok(printer::table(
        &["AGE", "TYPE", "REASON", "OBJECT", "MESSAGE"],
        events.iter().map(row),
    )?)
}

fn kind(event: &Event) -> &'static str {
    if event.warning { "Warning" } else { "Normal" }
}

fn object(event: &Event) -> String {
    let pod = format!("{}/{}", event.pod_namespace, event.pod_name);
    if event.container.is_empty() {
        pod
    } else {
        format!("{pod}:{}", event.container)
    }
}

/// One event on one line.
pub(crate) fn sentence(event: &Event) -> String {
    format!(
        "{} {} {}: {}",
        kind(event),
        event.reason,
        object(event),
        event.message
    )
}
