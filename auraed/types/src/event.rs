//! Events and timelines: what happened to pods.

use std::time::Duration;

use auraed_api::observe::v0 as api;
use jiff::Timestamp;

use crate::id::{ContainerName, Namespace, PodId, PodName};
use crate::status::to_wire_time;

/// Something that happened to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts from 1 since the daemon's start.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// The pod.
    pub pod: PodId,
    /// Its name.
    pub pod_name: PodName,
    /// Its namespace.
    pub pod_namespace: Namespace,
    /// The container, where it was one of them.
    pub container: Option<ContainerName>,
    /// That container is an init container.
    pub init_container: bool,
    /// Something an operator should look at.
    pub warning: bool,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl From<&Event> for api::Event {
    fn from(event: &Event) -> api::Event {
        api::Event {
            time: Some(to_wire_time(event.time)),
            pod_id: event.pod.to_string(),
            pod_name: event.pod_name.to_string(),
            pod_namespace: event.pod_namespace.to_string(),
            container: event
                .container
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            init_container: event.init_container,
            warning: event.warning,
            reason: event.reason.to_owned(),
            message: event.message.clone(),
            sequence: event.sequence,
        }
    }
}

/// One step of a pod's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// accepted, image, sandbox, volumes, container, ready, …
    pub name: &'static str,
    /// What it acted on; may be empty.
    pub subject: String,
    /// Since the pod was accepted.
    pub start: Duration,
    /// Absent while it runs.
    pub duration: Option<Duration>,
    /// What is worth knowing; may be empty.
    pub detail: String,
}

impl From<&Step> for api::TimelineStep {
    fn from(step: &Step) -> api::TimelineStep {
        let microseconds = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        api::TimelineStep {
            name: step.name.to_owned(),
            subject: step.subject.clone(),
            start_microseconds: microseconds(step.start),
            // 0 means that it still runs, so what took less than one counts as one.
            duration_microseconds: step.duration.map_or(0, |duration| microseconds(duration).max(1)),
            detail: step.detail.clone(),
        }
    }
}
