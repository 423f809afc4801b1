//! `aurae rm`: stops pods if need be and forgets them.

use crate::arguments::StopOptions;
use crate::failure::Failure;
use crate::printer;
use crate::session::Session;
use crate::stop;
use auraed_api::schedule::v0::RemoveRequest;
use futures_util::future::try_join_all;

/// Removes the pods side by side; answers when nothing is left of them.
pub(crate) async fn rm(session: &Session, options: StopOptions) -> Result<(), Failure> {
    let client = session.connect().await?;
    let pods = stop::targets(&client, &options).await?;
    let grace_period_seconds = options.grace_period;
    try_join_all(pods.into_iter().map(|pod| {
        let mut schedule = client.schedule();
        async move {
            schedule
                .remove(RemoveRequest {
                    pod: pod.clone(),
                    grace_period_seconds,
                })
                .await?;
            printer::line(&pod)?;
            Ok::<(), Failure>(())
        }
    }))
    .await?;
    Ok(())
}
