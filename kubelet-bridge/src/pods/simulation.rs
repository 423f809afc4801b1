//! A pod's state, driven by a small world of an API server and an auraed in which anything may happen at any time:
//! deletions, crashes, lost answers, a watch that lags, a bridge that starts anew. Whatever happened, once the world is
//! calm both sides agree, and on the way no rule was broken.

use std::sync::Arc;

use auraed_api::schedule::v0 as schedule;
use auraed_api::schedule::v0::container_state::State as Kind;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use proptest::prelude::*;
use serde_json::json;
use translation::Node;

use super::decide::{self, Run, Write};
use super::state::{Applied, State};
use super::{Inbox, Origin, status};

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Somebody deletes the pod, with this grace.
    Delete(i64),
    /// Somebody takes the object away.
    ForceDelete,
    /// The bridge hears what was told it.
    Deliver,
    /// What is under way towards auraed is done, or its answer is lost.
    Run(Answer),
    /// What is under way towards the API is done, or its answer is lost.
    Write(Answer),
    /// auraed gets on with what it does.
    Progress,
    /// All processes end by themselves.
    Exit,
    /// auraed goes; it may forget everything.
    Away { forgets: bool },
    /// auraed is there.
    Back,
    /// Somebody else removes the pod from auraed.
    RemovedByHand,
    /// The bridge is killed and begins anew.
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Heard,
    DoneAndLost,
    Refused,
}

#[derive(Clone, Debug)]
struct InAurae {
    running: bool,
    stopping: bool,
    finished: bool,
}

/// Session, how often forgotten, and the pod when it began.
type Subject = (u64, u32, Arc<Pod>);

struct World {
    api: Option<Pod>,
    version: u64,
    aurae: Option<InAurae>,
    up: bool,
    inbox: Inbox,
    state: State,
    run: Option<(Run, Subject)>,
    write: Option<(Write, Option<PodStatus>)>,
}

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "u", "resourceVersion": "1", "generation": 1 },
        "spec": { "containers": [{ "name": "c", "image": "i" }], "restartPolicy": "Never" },
        "status": { "phase": "Pending" },
    }))
    .expect("a pod")
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

impl InAurae {
    fn status(&self, revision: u64) -> schedule::PodStatus {
        let (phase, state) = match self {
            InAurae { finished: true, .. } => {
                (schedule::Phase::Succeeded, Kind::Terminated(Default::default()))
            }
            InAurae { running: true, .. } => (schedule::Phase::Running, Kind::Running(Default::default())),
            InAurae { .. } => (schedule::Phase::Pending, Kind::Waiting(Default::default())),
        };
        schedule::PodStatus {
            id: "u".into(),
            phase: phase.into(),
            finished: self.finished,
            stopping: self.stopping,
            revision,
            containers: vec![schedule::ContainerStatus {
                name: "c".into(),
                state: Some(schedule::ContainerState { state: Some(state) }),
                ..schedule::ContainerStatus::default()
            }],
            ..schedule::PodStatus::default()
        }
    }
}

impl World {
    fn new() -> World {
        let inbox = Inbox {
            pod: Arc::new(pod()),
            gone: false,
            mirror: None,
            observed: None,
            forgotten: 0,
            session: 1,
            synced: true,
        };
        World {
            api: Some(pod()),
            version: 1,
            aurae: None,
            up: true,
            state: State::new(Origin::Api, inbox.clone()),
            inbox,
            run: None,
            write: None,
        }
    }

    fn happens(&mut self, event: Event) {
        self.happens_at_once(event);
        self.start();
    }

    fn happens_at_once(&mut self, event: Event) {
        match event {
            Event::Delete(grace) => self.delete(grace),
            Event::ForceDelete => {
                self.api = None;
                self.inbox.gone = true;
            }
            Event::Deliver => self.state.told(self.inbox.clone()),
            Event::Run(answer) => self.finish_run(answer),
            Event::Write(answer) => self.finish_write(answer),
            Event::Progress => self.progress(),
            Event::Exit => {
                if let Some(pod) = &mut self.aurae {
                    pod.finished = true;
                }
                self.tell();
            }
            Event::Away { forgets } => {
                self.up = false;
                if forgets {
                    self.aurae = None;
                }
                self.inbox.synced = false;
            }
            Event::Back => {
                if !self.up {
                    self.up = true;
                    self.inbox.session += 1;
                    self.inbox.synced = true;
                    self.inbox.observed = None;
                    self.tell();
                }
            }
            Event::RemovedByHand => {
                if self.up && self.aurae.take().is_some() {
                    self.forgotten();
                }
            }
            Event::Restart => {
                self.run = None;
                self.write = None;
                // A new bridge is told of what is there alone.
                let Some(pod) = &self.api else { return };
                self.inbox.pod = Arc::new(pod.clone());
                self.inbox.forgotten = 0;
                self.state = State::new(Origin::Api, self.inbox.clone());
            }
        }
    }

    fn delete(&mut self, grace: i64) {
        let Some(pod) = &mut self.api else { return };
        self.version += 1;
        let at = Timestamp::UNIX_EPOCH;
        let metadata = &mut pod.metadata;
        metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
        let least = metadata.deletion_grace_period_seconds.unwrap_or(grace).min(grace);
        metadata.deletion_grace_period_seconds = Some(least);
        metadata.resource_version = Some(self.version.to_string());
        self.inbox.pod = Arc::new(pod.clone());
    }

    /// auraed's word to its watchers.
    fn tell(&mut self) {
        if self.up {
            self.version += 1;
            self.inbox.observed = self.aurae.as_ref().map(|pod| Arc::new(pod.status(self.version)));
        }
    }

    fn forgotten(&mut self) {
        self.inbox.observed = None;
        self.inbox.forgotten += 1;
    }

    fn progress(&mut self) {
        if let Some(pod) = &mut self.aurae {
            if pod.stopping {
                pod.finished = true;
            } else {
                pod.running = true;
            }
        }
        self.tell();
    }

    /// As the worker does it.
    fn start(&mut self) {
        if self.run.is_none()
            && let Some(run) = decide::run(&self.state)
        {
            assert!(
                run != Run::Apply || !self.state.is_terminal(),
                "a pod that is over is handed over: {:?}",
                self.state
            );
            self.state.stale = false;
            let subject = (
                self.state.session,
                self.state.forgotten,
                Arc::clone(&self.state.pod),
            );
            if run == Run::Apply {
                self.state.hands_over();
            }
            self.run = Some((run, subject));
        }
        if self.write.is_none() {
            let desired = status::desired(&self.state, &Node::default(), Timestamp::UNIX_EPOCH);
            if let Some(write) = decide::write(&self.state, desired.as_ref(), true) {
                self.write = Some((write, desired));
            }
        }
    }

    fn finish_run(&mut self, answer: Answer) {
        let Some((run, (session, forgotten, pod))) = self.run.take() else {
            return;
        };
        let known = self.aurae.is_some();
        let done = self.up && answer != Answer::Refused;
        if done {
            self.act(&run);
        }
        if !done || answer != Answer::Heard {
            // An answer is lost with the connection.
            self.state.failed(self.up && answer == Answer::Refused);
            if self.up && answer == Answer::DoneAndLost {
                self.happens_at_once(Event::Away { forgets: false });
            }
            return;
        }
        match run {
            Run::Apply => self.state.took(Applied { session, pod }, forgotten),
            Run::Stop(grace) if known => self.state.stopping = Some((session, grace)),
            Run::Stop(_) => self.state.took_not(),
            Run::Remove(_) => self.state.removed = true,
            Run::Refresh => {}
        }
    }

    /// What auraed does.
    fn act(&mut self, run: &Run) {
        match run {
            Run::Apply => {
                let new = InAurae {
                    running: false,
                    stopping: false,
                    finished: false,
                };
                self.aurae.get_or_insert(new);
                self.tell();
            }
            Run::Stop(_) => {
                if let Some(pod) = &mut self.aurae {
                    pod.stopping = true;
                }
                self.tell();
            }
            Run::Remove(_) => {
                if self.aurae.take().is_some() {
                    self.forgotten();
                }
            }
            Run::Refresh => {}
        }
    }

    fn finish_write(&mut self, answer: Answer) {
        let Some((write, desired)) = self.write.take() else {
            return;
        };
        if answer == Answer::Refused {
            return;
        }
        let Some(pod) = &mut self.api else {
            if answer == Answer::Heard {
                self.state.deleted = true;
            }
            return;
        };
        match write {
            Write::Patch(body) => {
                assert!(
                    !is_terminal(pod)
                        || desired.as_ref().and_then(|new| new.phase.as_deref()) == Some(phase(pod)),
                    "a terminal phase changes"
                );
                self.version += 1;
                pod.status = desired;
                pod.metadata.resource_version = Some(self.version.to_string());
                self.inbox.pod = Arc::new(pod.clone());
                if answer == Answer::Heard {
                    self.state.wrote(pod.clone(), Some(body));
                }
            }
            Write::Delete => {
                assert!(is_terminal(pod), "deleted before its last status: {pod:?}");
                let runs = self.aurae.as_ref().is_some_and(|pod| !pod.finished);
                assert!(!runs, "deleted while it runs");
                self.api = None;
                self.inbox.gone = true;
                if answer == Answer::Heard {
                    self.state.deleted = true;
                }
            }
            Write::CreateMirror | Write::DeleteMirror => panic!("a mirror of an API pod"),
        }
    }

    /// Nothing fails any more: everything must come to rest.
    fn calm(&mut self) {
        self.happens(Event::Back);
        let mut idle = 0;
        for _ in 0..30 {
            self.happens(Event::Deliver);
            idle = if self.run.is_none() && self.write.is_none() {
                idle + 1
            } else {
                0
            };
            if idle > 2 {
                break;
            }
            for event in [
                Event::Run(Answer::Heard),
                Event::Write(Answer::Heard),
                Event::Progress,
            ] {
                self.happens(event);
            }
        }
        assert!(self.run.is_none(), "auraed is never left alone: {:?}", self.run);
        assert!(
            self.write.is_none(),
            "the API is never left alone: {:?}",
            self.write
        );
    }

    fn agree(&self) {
        match &self.api {
            None => {
                assert!(self.aurae.is_none(), "auraed keeps what the API forgot");
                assert!(decide::is_done(&self.state));
            }
            Some(pod) => {
                assert!(pod.metadata.deletion_timestamp.is_none(), "it should be gone");
                if !is_terminal(pod) {
                    assert!(
                        self.aurae.as_ref().is_some_and(|pod| pod.running),
                        "it should run"
                    );
                    assert_eq!(phase(pod), "Running");
                }
            }
        }
    }
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![4 => Just(Answer::Heard), 1 => Just(Answer::DoneAndLost), 1 => Just(Answer::Refused)]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => prop_oneof![Just(30), Just(5), Just(0)].prop_map(Event::Delete),
        1 => Just(Event::ForceDelete),
        8 => Just(Event::Deliver),
        8 => answer().prop_map(Event::Run),
        8 => answer().prop_map(Event::Write),
        4 => Just(Event::Progress),
        1 => Just(Event::Exit),
        1 => any::<bool>().prop_map(|forgets| Event::Away { forgets }),
        2 => Just(Event::Back),
        1 => Just(Event::RemovedByHand),
        1 => Just(Event::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_both_sides_agree_in_the_end(events in prop::collection::vec(event(), 0..40)) {
        let mut world = World::new();
        world.start();
        for event in events {
            world.happens(event);
        }
        world.calm();
        world.agree();
    }
}
