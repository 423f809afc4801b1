//! `aurae stop`: signal, grace period, kill; waits until the pods have ended.

use crate::arguments::StopOptions;
use crate::failure::Failure;
use crate::printer;
use crate::session::Session;
use auraed_api::schedule::v0::watch_response::Event as Change;
use auraed_api::schedule::v0::{ListRequest, PodStatus, StopRequest, WatchRequest};
use auraed_client::Client;

/// Stops the pods, all at once, and prints each one's name when it has ended.
pub(crate) async fn stop(session: &Session, options: StopOptions) -> Result<(), Failure> {
    let client = session.connect().await?;
    let mut waiting = Vec::new();
    for pod in targets(&client, &options).await? {
        let request = StopRequest {
            pod,
            grace_period_seconds: options.grace_period,
        };
        waiting.extend(client.schedule().stop(request).await?.into_inner().status);
    }
    for status in waiting {
        ended(&client, &status).await?;
        printer::line(&format!("{}/{}", status.namespace, status.name))?;
    }
    Ok(())
}

/// The pods that were named, or all.
pub(crate) async fn targets(client: &Client, options: &StopOptions) -> Result<Vec<String>, Failure> {
    if !options.all {
        return Ok(options.pods.clone());
    }
    let statuses = client
        .schedule()
        .list(ListRequest {})
        .await?
        .into_inner()
        .statuses;
    Ok(statuses.into_iter().map(|status| status.id).collect())
}

async fn ended(client: &Client, status: &PodStatus) -> Result<(), Failure> {
    if status.finished {
        return Ok(());
    }
    let mut watch = client
        .schedule()
        .watch(WatchRequest {
            pod: status.id.clone(),
        })
        .await?
        .into_inner();
    while let Some(response) = watch.message().await? {
        match response.event {
            Some(Change::Changed(status)) if status.finished => return Ok(()),
            Some(Change::Removed(_)) => return Ok(()),
            _ => {}
        }
    }
    Err(Failure::new("auraed went away"))
}
