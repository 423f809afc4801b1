//! Tells the cluster what auraed reports of its pods. One task, which follows auraed's events and looks the pod of each up; events of pods that are not the cluster's are passed over.
//!
//! auraed keeps a history and sends it first. Of that only what is newer than the last event seen is told, so that
//! nothing is told twice when auraed comes back; what happened while the bridge itself was away is not told.

use std::time::Duration;

use auraed_api::observe::v0::{Event, EventsRequest};
use jiff::Timestamp;

use crate::aurae::Aurae;
use crate::backoff::Backoff;
use crate::pods::Directory;
use crate::report::Recorder;

/// Follows for ever.
pub async fn follow(aurae: Aurae, pods: Directory, recorder: Recorder, node: String) {
    let mut seen = Timestamp::now();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        let request = EventsRequest {
            pod: String::new(),
            follow: true,
        };
        if let Ok(answer) = aurae.control.observe().events(request).await {
            let mut stream = answer.into_inner();
            let mut history = true;
            while let Ok(Some(message)) = stream.message().await {
                backoff.reset();
                history &= !message.synced;
                let Some(event) = message.event else { continue };
                let time = time(&event);
                if history && time <= seen {
                    continue;
                }
                seen = seen.max(time);
                if let Some(pod) = pods.by_id(&event.pod_id) {
                    recorder.record(translation::event::to_kubernetes(&event, &pod, &node));
                }
            }
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

fn time(event: &Event) -> Timestamp {
    let Some(time) = &event.time else {
        return Timestamp::UNIX_EPOCH;
    };
    Timestamp::new(time.seconds, time.nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}
