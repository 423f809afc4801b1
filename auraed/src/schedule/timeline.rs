//! A pod's start as a line of steps, for whoever asks why it took so long.

use std::time::Duration;

use auraed_types::event::Step;

use super::engine::Timeline;
use super::moment::Moment;

/// Steps that are kept: a pod that restarts for ever tells of its first ones.
const LIMIT: usize = 256;

/// The steps of one pod.
#[derive(Clone, Debug)]
pub(crate) struct Steps {
    accepted: Moment,
    steps: Vec<Step>,
    complete: bool,
    version: u64,
}

impl Steps {
    /// None yet, of a pod accepted at that time.
    pub(crate) fn new(accepted: Moment) -> Steps {
        Steps {
            accepted,
            steps: Vec::new(),
            complete: false,
            version: 0,
        }
    }

    /// A step that takes no time.
    pub(crate) fn mark(&mut self, name: &'static str, subject: &str, now: Moment, detail: &str) {
        self.begin(name, subject, now);
        self.end(name, subject, now, detail);
    }

    /// A step begins.
    pub(crate) fn begin(&mut self, name: &'static str, subject: &str, now: Moment) {
        if self.steps.len() < LIMIT {
            self.version += 1;
            let start = self.since_accepted(now);
            self.steps.push(Step {
                name,
                subject: subject.to_owned(),
                start,
                duration: None,
                detail: String::new(),
            });
        }
    }

    /// The newest step of that name and subject is over, if it runs.
    pub(crate) fn end(&mut self, name: &'static str, subject: &str, now: Moment, detail: &str) {
        let elapsed = self.since_accepted(now);
        let open = |step: &&mut Step| step.name == name && step.subject == subject && step.duration.is_none();
        if let Some(step) = self.steps.iter_mut().rev().find(open) {
            self.version += 1;
            step.duration = Some(elapsed.saturating_sub(step.start));
            detail.clone_into(&mut step.detail);
        }
    }

    /// The last step of the start.
    pub(crate) fn complete(&mut self, name: &'static str, now: Moment) {
        self.complete = true;
        self.mark(name, "", now, "");
    }

    /// Whether that step was reached.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Changes with every step.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// For the outside.
    pub(crate) fn timeline(&self) -> Timeline {
        Timeline {
            accepted_at: self.accepted.wall,
            steps: self.steps.clone(),
        }
    }

    fn since_accepted(&self, now: Moment) -> Duration {
        Duration::try_from(now.steady - self.accepted.steady).unwrap_or(Duration::ZERO)
    }
}
