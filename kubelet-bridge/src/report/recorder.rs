//! Writes Kubernetes events, one at a time, behind everything else: an event may come late or not at all, a status may
//! not. One task owns the queue.
//!
//! An event that repeats is counted in the object that tells of it already; an object that makes too many is cut short
//! (25 at once, then one every five minutes), as kubelet's recorder does.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use translation::Problem;

use crate::backoff::Backoff;
use crate::cluster::{CallError, Cluster};

/// Events that wait while the API server is away or slow; more are dropped.
const QUEUE: usize = 1000;
/// Remembered for counting repeats.
const REMEMBERED: usize = 4096;
/// A repeat after this is a new event.
const FORGET: Duration = Duration::from_secs(3600);
const BURST: f64 = 25.0;
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;
const TRIES: u32 = 12;
const LONGEST_NAME: usize = 253;

/// The front of the task; without a cluster events go nowhere.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: Option<mpsc::Sender<Event>>,
    node: String,
}

impl Recorder {
    /// Starts the task, which ends with the last recorder.
    pub fn start(cluster: Cluster, node: &str) -> Recorder {
        let (queue, events) = mpsc::channel(QUEUE);
        tokio::spawn(write(cluster, events));
        Recorder {
            queue: Some(queue),
            node: node.to_owned(),
        }
    }

    /// One that drops everything.
    pub fn nowhere(node: &str) -> Recorder {
        Recorder {
            queue: None,
            node: node.to_owned(),
        }
    }

    /// Queues an event; never waits.
    pub fn record(&self, event: Event) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(event).is_err() {
            tracing::debug!("an event is dropped: too many wait");
        }
    }

    /// Queues an event about this node.
    pub fn node(&self, uid: Option<&str>, warning: bool, reason: &str, message: &str) {
        let about = ObjectReference {
            kind: Some("Node".into()),
            name: Some(self.node.clone()),
            uid: Some(uid.unwrap_or(&self.node).to_owned()),
            ..ObjectReference::default()
        };
        self.record(event(about, &self.node, warning, reason, message));
    }

    /// Queues an event about a pod as a whole.
    pub fn pod(&self, pod: &Pod, warning: bool, reason: &str, message: &str) {
        self.record(event(reference(pod), &self.node, warning, reason, message));
    }

    /// Queues the event that tells a pod's owner of a problem.
    pub fn problem(&self, pod: &Pod, problem: &Problem) {
        let now = jiff::Timestamp::now();
        self.record(translation::event::of_problem(problem, pod, &self.node, now));
    }
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        api_version: Some("v1".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

fn event(about: ObjectReference, node: &str, warning: bool, reason: &str, message: &str) -> Event {
    let now = jiff::Timestamp::now();
    Event {
        metadata: ObjectMeta {
            namespace: Some(about.namespace.clone().unwrap_or_else(|| "default".into())),
            ..ObjectMeta::default()
        },
        involved_object: about,
        type_: Some(if warning { "Warning" } else { "Normal" }.into()),
        reason: Some(reason.into()),
        message: Some(message.into()),
        source: Some(EventSource {
            component: Some("kubelet".into()),
            host: Some(node.into()),
        }),
        reporting_component: Some("kubelet".into()),
        reporting_instance: Some(node.into()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Event::default()
    }
}

/// What makes two events the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    field: String,
    kind: String,
    reason: String,
    message: String,
}

impl Key {
    fn of(event: &Event) -> Key {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Key {
            uid: text(&event.involved_object.uid),
            field: text(&event.involved_object.field_path),
            kind: text(&event.type_),
            reason: text(&event.reason),
            message: text(&event.message),
        }
    }
}

/// What was written already.
#[derive(Debug, Default)]
struct Memory {
    written: HashMap<Key, Written>,
    budgets: HashMap<String, Budget>,
}

#[derive(Debug)]
struct Written {
    name: String,
    count: i32,
    at: Instant,
}

#[derive(Debug)]
struct Budget {
    left: f64,
    at: Instant,
}

/// What to do about an event.
#[derive(Debug, PartialEq)]
enum Step {
    Create,
    Count { name: String, count: i32 },
    Drop,
}

impl Memory {
    fn step(&mut self, key: &Key, now: Instant) -> Step {
        if self.written.len() > REMEMBERED || self.budgets.len() > REMEMBERED {
            self.written
                .retain(|_, written| now.duration_since(written.at) < FORGET / 6);
            self.budgets
                .retain(|_, budget| now.duration_since(budget.at) < FORGET / 6);
        }
        let budget = self
            .budgets
            .entry(key.uid.clone())
            .or_insert(Budget { left: BURST, at: now });
        let refilled = budget.left + now.duration_since(budget.at).as_secs_f64() * REFILL_PER_SECOND;
        *budget = Budget {
            left: refilled.min(BURST),
            at: now,
        };
        if budget.left < 1.0 {
            return Step::Drop;
        }
        budget.left -= 1.0;
        match self.written.get_mut(key) {
            Some(written) if now.duration_since(written.at) < FORGET => {
                written.count += 1;
                written.at = now;
                Step::Count {
                    name: written.name.clone(),
                    count: written.count,
                }
            }
            _ => Step::Create,
        }
    }

    fn created(&mut self, key: Key, name: String, now: Instant) {
        self.written.insert(
            key,
            Written {
                name,
                count: 1,
                at: now,
            },
        );
    }
}

async fn write(cluster: Cluster, mut events: mpsc::Receiver<Event>) {
    let mut memory = Memory::default();
    let mut last = 0;
    while let Some(mut event) = events.recv().await {
        // Several may be of one moment: their names must differ all the same.
        last = jiff::Timestamp::now().as_nanosecond().max(last + 1);
        event.metadata.name = Some(named(&event, last));
        let key = Key::of(&event);
        let step = memory.step(&key, Instant::now());
        let name = event.metadata.name.clone().unwrap_or_default();
        match tried(&cluster, &event, &step).await {
            Ok(true) => memory.created(key, name, Instant::now()),
            Ok(false) => {}
            Err(error) => tracing::debug!("an event is dropped: {}", crate::chain::sources(&error)),
        }
    }
}

fn named(event: &Event, moment: i128) -> String {
    let about = event.involved_object.name.as_deref().unwrap_or("node");
    let suffix = format!(".{moment:x}");
    let end = about.floor_char_boundary(LONGEST_NAME - suffix.len());
    format!("{}{suffix}", &about[..end])
}

/// Writes, with patience for a server that is away; true where an object was created.
async fn tried(cluster: &Cluster, event: &Event, step: &Step) -> Result<bool, CallError> {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    for _ in 1..TRIES {
        match once(cluster, event, step).await {
            Err(error) if !error.is_final() && !error.is_forbidden() => {
                tokio::time::sleep(error.retry_after().unwrap_or_else(|| backoff.delay())).await;
            }
            other => return other,
        }
    }
    once(cluster, event, step).await
}

async fn once(cluster: &Cluster, event: &Event, step: &Step) -> Result<bool, CallError> {
    let api: Api<Event> = cluster.namespaced(event.metadata.namespace.as_deref().unwrap_or("default"));
    match step {
        Step::Drop => Ok(false),
        Step::Count { name, count } => {
            let patch = json!({ "count": count, "lastTimestamp": event.last_timestamp });
            let (parameters, patch) = (PatchParams::default(), Patch::Strategic(patch));
            match cluster.call(api.patch(name, &parameters, &patch)).await {
                Err(error) if error.is_not_found() => {}
                other => return other.map(|_| false),
            }
            create(cluster, &api, event).await
        }
        Step::Create => create(cluster, &api, event).await,
    }
}

async fn create(cluster: &Cluster, api: &Api<Event>, event: &Event) -> Result<bool, CallError> {
    match cluster.call(api.create(&PostParams::default(), event)).await {
        // A try before this one got through.
        Err(error) if error.is_conflict() => Ok(true),
        other => other.map(|_| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(reason: &str) -> Key {
        let about = ObjectReference {
            uid: Some("u".into()),
            ..ObjectReference::default()
        };
        Key::of(&event(about, "node", false, reason, "message"))
    }

    #[test]
    fn repeats_are_counted() {
        let mut memory = Memory::default();
        let now = Instant::now();
        assert_eq!(memory.step(&key("Started"), now), Step::Create);
        memory.created(key("Started"), "pod.1".into(), now);
        assert_eq!(
            memory.step(&key("Started"), now),
            Step::Count {
                name: "pod.1".into(),
                count: 2
            }
        );
        assert_eq!(memory.step(&key("Killing"), now), Step::Create);
        assert_eq!(memory.step(&key("Started"), now + FORGET), Step::Create);
    }

    #[test]
    fn an_object_that_makes_too_many_is_cut_short() {
        let mut memory = Memory::default();
        let now = Instant::now();
        let steps: Vec<Step> = (0..30).map(|_| memory.step(&key("BackOff"), now)).collect();
        assert_eq!(steps.iter().filter(|step| **step == Step::Drop).count(), 5);
        assert_ne!(
            memory.step(&key("BackOff"), now + Duration::from_secs(301)),
            Step::Drop
        );
    }
}
