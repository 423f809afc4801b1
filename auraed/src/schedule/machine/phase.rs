//! The pod's phase, from its containers' statuses.

use auraed_types::pod::RestartPolicy;
use auraed_types::status::{ContainerState, ContainerStatus, Phase};

use super::stop::Cause;
use super::{Machine, Role};
use crate::schedule::moment::Moment;

/// What a pod says whose time was over.
pub(super) const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// How many containers are what.
#[derive(Debug, Default)]
struct Counts {
    pending_init: usize,
    failed_init: usize,
    pending_sidecars: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
}

impl Machine {
    /// Brings the phase up to date. Nothing follows a terminal one, and none is shown while anything may run.
    pub(super) fn update_phase(&mut self, now: Moment) {
        if self.phase.is_terminal() {
            return;
        }
        let computed = self.computed_phase(now);
        if !self.is_finished() {
            if !computed.is_terminal() {
                self.phase = computed;
            }
            return;
        }
        let deadline = self
            .ending
            .as_ref()
            .is_some_and(|ending| ending.cause == Cause::Deadline);
        self.phase = match computed {
            Phase::Succeeded if !deadline => Phase::Succeeded,
            _ => Phase::Failed,
        };
    }

    fn computed_phase(&self, now: Moment) -> Phase {
        let mut counts = Counts::default();
        let mut started = self.pod.init_containers.is_empty();
        for index in self.indexes() {
            let status = self.container_status(now, index);
            match self.role(index) {
                Role::Init => counts.init(&status),
                Role::Sidecar => counts.sidecar(&status),
                Role::Main => {
                    started |= !matches!(status.state, ContainerState::Waiting { .. })
                        || status.last_state.is_some();
                    counts.main(&status);
                }
            }
        }
        counts.phase(self.policy(), self.is_finished(), started || self.initialized)
    }
}

impl Counts {
    fn init(&mut self, status: &ContainerStatus) {
        match (&status.state, &status.last_state) {
            (ContainerState::Terminated(end), _) | (ContainerState::Waiting { .. }, Some(end)) => {
                self.failed_init += usize::from(end.exit_code != 0);
            }
            _ => self.pending_init += 1,
        }
    }

    fn sidecar(&mut self, status: &ContainerStatus) {
        match (&status.state, &status.last_state) {
            (ContainerState::Running { .. }, _) => {
                self.running += 1;
                self.pending_sidecars += usize::from(!status.started);
            }
            (ContainerState::Waiting { .. }, None) => {
                self.pending_sidecars += 1;
                self.waiting += 1;
            }
            // An ended one says nothing about the pod.
            _ => {}
        }
    }

    fn main(&mut self, status: &ContainerStatus) {
        match (&status.state, &status.last_state) {
            (ContainerState::Running { .. }, _) => self.running += 1,
            (ContainerState::Terminated(end), _) => {
                self.stopped += 1;
                self.succeeded += usize::from(end.exit_code == 0);
            }
            (ContainerState::Waiting { .. }, Some(_)) => self.stopped += 1,
            (ContainerState::Waiting { .. }, None) => self.waiting += 1,
        }
    }

    fn phase(&self, policy: RestartPolicy, ended: bool, initialized: bool) -> Phase {
        if self.failed_init > 0 && policy == RestartPolicy::Never {
            return Phase::Failed;
        }
        if self.pending_init > 0 || (self.pending_sidecars > 0 && !initialized) || self.waiting > 0 {
            return Phase::Pending;
        }
        if self.running > 0 {
            return Phase::Running;
        }
        if self.stopped == 0 {
            return Phase::Pending;
        }
        let by_codes = if self.stopped == self.succeeded {
            Phase::Succeeded
        } else {
            Phase::Failed
        };
        match policy {
            _ if ended => by_codes,
            RestartPolicy::Always => Phase::Running,
            RestartPolicy::OnFailure if by_codes == Phase::Failed => Phase::Running,
            RestartPolicy::OnFailure | RestartPolicy::Never => by_codes,
        }
    }
}
