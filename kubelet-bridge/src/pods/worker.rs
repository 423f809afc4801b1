//! One pod's task. See [`crate::pods`] for its place; what it does is decided in [`super::decide`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::watch;
use tokio::time::Instant;
use translation::Problem;

use super::decide::{self, Run, Write};
use super::run::{self, Subject};
use super::state::{Applied, Stands, State};
use super::write::{self, Target};
use super::{Context, Inbox, Origin, View, status};
use crate::backoff::Backoff;
use crate::chain;
use crate::resolve::Held;

/// How long a status that only tells of a start or an end under way waits for a better one: most are over by then, and a
/// request under way would hold the better one up.
const PASSING: Duration = Duration::from_millis(100);

type Future_<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One kind of work: one thing at a time, with patience after failures.
struct Lane<T> {
    busy: Option<Future_<T>>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl<T> Lane<T> {
    fn new(limit: Duration) -> Lane<T> {
        Lane {
            busy: None,
            backoff: Backoff::new(Duration::from_millis(100), limit),
            not_before: None,
        }
    }

    fn is_free(&self) -> bool {
        self.busy.is_none() && self.not_before.is_none_or(|at| at <= Instant::now())
    }

    async fn next(&mut self) -> T {
        match &mut self.busy {
            Some(work) => {
                let outcome = work.await;
                self.busy = None;
                outcome
            }
            None => std::future::pending().await,
        }
    }

    fn failed(&mut self, at_least: Option<Duration>) {
        let delay = self.backoff.delay().max(at_least.unwrap_or_default());
        self.not_before = Some(Instant::now() + delay);
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        self.not_before = None;
    }
}

type Ran = (Subject, (run::Outcome, Option<Held>));

pub(super) struct Worker {
    context: Arc<Context>,
    state: State,
    held: Option<Held>,
    run: Lane<Ran>,
    write: Lane<(Write, write::Outcome)>,
    views: watch::Sender<View>,
    /// Since when the desired status is one that may wait.
    passing: Option<Instant>,
}

/// Runs until nothing is left of the pod.
pub(super) async fn run_pod(
    context: Arc<Context>,
    origin: Origin,
    mut inbox: watch::Receiver<Inbox>,
    views: watch::Sender<View>,
) {
    let state = State::new(origin, inbox.borrow_and_update().clone());
    let mut node = context.node.clone();
    let mut worker = Worker {
        context,
        state,
        held: None,
        run: Lane::new(Duration::from_secs(10)),
        write: Lane::new(Duration::from_secs(10)),
        views,
        passing: None,
    };
    loop {
        let wake = worker.start();
        if decide::is_done(&worker.state) && worker.run.busy.is_none() && worker.write.busy.is_none() {
            return;
        }
        tokio::select! {
            changed = inbox.changed() => {
                if changed.is_err() {
                    return;
                }
                let news = inbox.borrow_and_update().clone();
                worker.told(news);
            }
            ran = worker.run.next() => worker.ran(ran),
            wrote = worker.write.next() => worker.wrote(wrote),
            // Its addresses are in statuses, its UID in mirrors.
            known = node.changed() => {
                if known.is_err() {
                    return;
                }
            }
            () = changed(&mut worker.held) => worker.state.stale = true,
            () = sleep_until(wake) => {}
        }
    }
}

async fn changed(held: &mut Option<Held>) {
    match held {
        Some(held) => held.changed().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Worker {
    /// Starts what is to be done in lanes that are free; returns when to look again.
    fn start(&mut self) -> Option<Instant> {
        if self.run.is_free()
            && let Some(run) = decide::run(&self.state)
        {
            self.start_run(run);
        }
        let desired = self.desired();
        let wait = self.may_wait(desired.as_ref());
        if self.write.is_free() && wait.is_none() {
            self.start_write(desired.as_ref());
        }
        let later = |lane: Option<Instant>| lane.filter(|at| *at > Instant::now());
        let run = later(self.run.not_before).filter(|_| self.run.busy.is_none());
        let write = later(self.write.not_before).filter(|_| self.write.busy.is_none());
        [run, write, wait].into_iter().flatten().min()
    }

    fn start_run(&mut self, run: Run) {
        let subject = Subject {
            origin: self.state.origin.clone(),
            pod: Arc::clone(&self.state.pod),
            exists: self.state.observed.is_some(),
            session: self.state.session,
            forgotten: self.state.forgotten,
        };
        if run == Run::Apply {
            self.state.hands_over();
        }
        tracing::debug!(pod = %name(&subject.pod), ?run, "auraed");
        self.state.stale = false;
        let held = self.held.take();
        let work = run::perform(Arc::clone(&self.context), subject.clone(), run, held);
        self.run.busy = Some(Box::pin(async move { (subject, work.await) }));
    }

    fn start_write(&mut self, desired: Option<&PodStatus>) {
        let Some(cluster) = &self.context.cluster else {
            return;
        };
        let node = self.context.node.borrow().clone();
        let node = node.and_then(|view| Some((view.node.name.clone(), view.uid.clone()?)));
        let Some(write) = decide::write(&self.state, desired, node.is_some()) else {
            return;
        };
        match &write {
            Write::Patch(body) => tracing::debug!(pod = %name(&self.state.pod), %body, "patch"),
            other => tracing::debug!(pod = %name(&self.state.pod), ?other, "API"),
        }
        let pod = match &write {
            Write::CreateMirror => &self.state.pod,
            _ => self.state.object.as_ref().unwrap_or(&self.state.pod),
        };
        // The next one that may wait does so from here.
        self.passing = self.passing.map(|_| Instant::now());
        let target = Target {
            pod: Arc::clone(pod),
            node: node.unwrap_or_default(),
        };
        let work = write::perform(cluster.clone(), target, write.clone());
        self.write.busy = Some(Box::pin(async move { (write, work.await) }));
    }

    /// The status that the API should have; shown to others as well.
    fn desired(&mut self) -> Option<PodStatus> {
        let node = self.context.node.borrow().clone()?;
        let desired = status::desired(&self.state, &node.node, Timestamp::now());
        let shown = desired.as_ref().or(self.state.reported());
        let pod = &self.state.pod;
        self.views.send_if_modified(|view| {
            let mut news = false;
            if !Arc::ptr_eq(&view.pod, pod) {
                view.pod = Arc::clone(pod);
                news = true;
            }
            if let Some(shown) = shown
                && *shown != *view.status
            {
                view.status = Arc::new(shown.clone());
                news = true;
            }
            news
        });
        desired
    }

    /// Until when a status may wait; none: write it now.
    fn may_wait(&mut self, desired: Option<&PodStatus>) -> Option<Instant> {
        let may_wait =
            desired.is_some_and(status::is_passing) && matches!(self.state.stands, Stands::Nothing);
        if !may_wait {
            self.passing = None;
            return None;
        }
        let until = *self.passing.get_or_insert_with(Instant::now) + PASSING;
        (until > Instant::now()).then_some(until)
    }

    fn told(&mut self, news: Inbox) {
        let session = self.state.session;
        let deleting = self.state.is_deleting();
        self.state.told(news);
        // An auraed that is back, or a pod that is to end, is worth a try at once.
        if self.state.session != session || self.state.is_deleting() != deleting {
            self.run.succeeded();
        }
        if self.state.gone || self.state.is_deleting() {
            self.held = None;
        }
    }

    fn ran(&mut self, (subject, (outcome, held)): Ran) {
        if !self.state.gone && !self.state.is_deleting() {
            self.held = held;
        }
        let pod = &subject.pod;
        match outcome {
            run::Outcome::Applied => {
                let pod = Arc::clone(pod);
                self.state.took(
                    Applied {
                        session: subject.session,
                        pod,
                    },
                    subject.forgotten,
                );
                self.run.succeeded();
            }
            run::Outcome::Stands(problems) => {
                self.state.took_not();
                self.run.succeeded();
                self.stands(&subject, problems);
            }
            run::Outcome::Refreshed => self.run.succeeded(),
            run::Outcome::Stopped(grace) => {
                self.state.stopping = Some((subject.session, grace));
                self.run.succeeded();
            }
            run::Outcome::Unknown => {
                self.state.took_not();
                self.run.succeeded();
            }
            run::Outcome::Removed => {
                self.state.removed = true;
                self.run.succeeded();
            }
            run::Outcome::Failed(error) => {
                self.state.failed(error.is_answer());
                // What was to be refreshed still is.
                self.state.stale |=
                    self.state.is_applied() || matches!(self.state.stands, Stands::Waiting(_));
                self.run.failed(None);
                // A pod that is on its way out takes its objects along.
                let leaving = self.state.gone || self.state.is_deleting();
                if !error.is_quiet() && !leaving {
                    tracing::warn!(pod = %name(pod), "trying again: {}", chain::sources(&error));
                    self.context
                        .recorder
                        .pod(pod, true, "FailedSync", &chain::sources(&error));
                }
            }
        }
    }

    /// Something stands against the pod: forever, or until an object appears.
    fn stands(&mut self, subject: &Subject, problems: Vec<Problem>) {
        let pod = &subject.pod;
        for problem in &problems {
            self.context.recorder.problem(pod, problem);
        }
        if !problems.iter().any(Problem::is_final) {
            self.state.stands = Stands::Waiting(problems);
            return;
        }
        if subject.exists {
            // It runs, so an earlier bridge took it: what is refused to newcomers does not end it.
            tracing::warn!(pod = %name(pod), "runs on though it would be refused now: {}", listed(&problems));
            self.state.applied = Some(Applied {
                session: subject.session,
                pod: Arc::clone(pod),
            });
            return;
        }
        tracing::info!(pod = %name(pod), "refused: {}", listed(&problems));
        self.held = None;
        self.state.stands = Stands::Refused(problems);
    }

    fn wrote(&mut self, (write, outcome): (Write, write::Outcome)) {
        let static_pod = matches!(self.state.origin, Origin::Manifest(_));
        match outcome {
            write::Outcome::Wrote(pod) => {
                let patch = match write {
                    Write::Patch(body) => Some(body),
                    Write::Delete | Write::CreateMirror | Write::DeleteMirror => None,
                };
                self.state.wrote(*pod, patch);
                self.write.succeeded();
            }
            write::Outcome::Gone => {
                if static_pod {
                    self.state.object = None;
                } else {
                    self.state.deleted = true;
                }
                self.write.succeeded();
            }
            write::Outcome::Failed(error) => {
                let patience = match &write {
                    // Admission's word on what the manifest refers to; the pod runs without a picture.
                    Write::CreateMirror if error.is_forbidden() => Some(Duration::from_secs(300)),
                    _ => error.is_final().then_some(Duration::from_secs(5)),
                };
                self.write.failed(error.retry_after().or(patience));
                if error.is_answer() {
                    let pod = name(&self.state.pod);
                    tracing::warn!(%pod, "the API server refuses, trying again: {error}");
                }
            }
        }
    }
}

fn listed(problems: &[Problem]) -> String {
    let all: Vec<String> = problems.iter().map(Problem::to_string).collect();
    all.join("; ")
}

fn name(pod: &Pod) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", text(&pod.metadata.namespace), text(&pod.metadata.name))
}
