//! What a pod is, as last seen, and its way to the wire. The engine also keeps the last status of a finished pod, as
//! JSON: fields are only ever added, with a default.

use std::collections::BTreeMap;
use std::net::IpAddr;

use auraed_api::schedule::v0 as api;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{ContainerId, ContainerName, Namespace, PodId, PodName};

/// A pod's status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodStatus {
    /// The pod.
    pub id: PodId,
    /// Its name.
    pub name: PodName,
    /// Its namespace.
    pub namespace: Namespace,
    /// The generation that this status is of.
    pub observed_generation: i64,
    /// Where in its life it is.
    pub phase: Phase,
    /// One word where the phase does not tell; may be empty.
    pub reason: String,
    /// A sentence; may be empty.
    pub message: String,
    /// Its sandbox.
    pub sandbox: SandboxStatus,
    /// In the order of the pod.
    pub init_containers: Vec<ContainerStatus>,
    /// In the order of the pod.
    pub containers: Vec<ContainerStatus>,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// A stop was asked for.
    pub stopping: bool,
    /// Nothing of it runs and nothing will.
    pub finished: bool,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// Who gave the pod.
    pub source: String,
    /// Higher with every change of any pod on this node.
    pub revision: u64,
}

/// Where in its life a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not all containers have started once.
    Pending,
    /// Something runs, or will again.
    Running,
    /// All ended well, for good.
    Succeeded,
    /// All ended, some badly, for good.
    Failed,
}

impl Phase {
    /// Nothing follows it.
    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

/// A pod's sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// It runs and has its address.
    pub ready: bool,
    /// Stay after the end.
    pub addresses: Vec<IpAddr>,
    /// 0 when there is none.
    pub init_pid: u32,
    /// Counts the sandboxes of this pod, from 0.
    pub attempt: u32,
}

/// One container's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its name.
    pub name: ContainerName,
    /// Of the newest start.
    pub container_id: Option<ContainerId>,
    /// The reference that the pod asked for.
    pub image: String,
    /// What it was resolved to; empty before.
    pub image_id: String,
    /// Starts after the first.
    pub restart_count: u32,
    /// It can serve.
    pub ready: bool,
    /// It runs and its startup probe, if any, has passed.
    pub started: bool,
    /// What it is.
    pub state: ContainerState,
    /// How the run before ended.
    pub last_state: Option<Terminated>,
}

/// What a container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// It does not run yet, or again.
    Waiting {
        /// One word.
        reason: String,
        /// A sentence; may be empty.
        message: String,
    },
    /// It runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// It has ended.
    Terminated(Terminated),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminated {
    /// 128 + the signal's number for a process that a signal ended.
    pub exit_code: i32,
    /// The signal that ended it, else 0.
    pub signal: i32,
    /// Completed, Error, OOMKilled, StartError, ContainerStatusUnknown.
    pub reason: String,
    /// The termination message.
    pub message: String,
    /// When it started, if it did.
    pub started_at: Option<Timestamp>,
    /// When it ended, if that is known.
    pub finished_at: Option<Timestamp>,
    /// Which start it was.
    pub container_id: Option<ContainerId>,
}

/// A time on the wire.
pub fn to_wire_time(time: Timestamp) -> prost_types::Timestamp {
    // Nanoseconds are negative before 1970, where the wire wants them to count forwards.
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        return prost_types::Timestamp {
            seconds: seconds - 1,
            nanos: nanos + 1_000_000_000,
        };
    }
    prost_types::Timestamp { seconds, nanos }
}

/// A time from the wire; absent if it is out of range.
pub fn from_wire_time(time: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

impl From<&PodStatus> for api::PodStatus {
    fn from(status: &PodStatus) -> api::PodStatus {
        api::PodStatus {
            id: status.id.to_string(),
            name: status.name.to_string(),
            namespace: status.namespace.to_string(),
            observed_generation: status.observed_generation,
            phase: api::Phase::from(status.phase).into(),
            reason: status.reason.clone(),
            message: status.message.clone(),
            sandbox: Some(api::SandboxStatus {
                ready: status.sandbox.ready,
                addresses: status.sandbox.addresses.iter().map(ToString::to_string).collect(),
                init_pid: status.sandbox.init_pid,
                attempt: status.sandbox.attempt,
            }),
            init_containers: status.init_containers.iter().map(Into::into).collect(),
            containers: status.containers.iter().map(Into::into).collect(),
            started_at: Some(to_wire_time(status.started_at)),
            stopping: status.stopping,
            finished: status.finished,
            labels: status.labels.clone().into_iter().collect(),
            source: status.source.clone(),
            revision: status.revision,
        }
    }
}

impl From<Phase> for api::Phase {
    fn from(phase: Phase) -> api::Phase {
        match phase {
            Phase::Pending => api::Phase::Pending,
            Phase::Running => api::Phase::Running,
            Phase::Succeeded => api::Phase::Succeeded,
            Phase::Failed => api::Phase::Failed,
        }
    }
}

impl From<&ContainerStatus> for api::ContainerStatus {
    fn from(status: &ContainerStatus) -> api::ContainerStatus {
        api::ContainerStatus {
            name: status.name.to_string(),
            container_id: status
                .container_id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            image: status.image.clone(),
            image_id: status.image_id.clone(),
            restart_count: status.restart_count,
            ready: status.ready,
            started: status.started,
            state: Some((&status.state).into()),
            last_state: status.last_state.as_ref().map(|terminated| api::ContainerState {
                state: Some(api::container_state::State::Terminated(terminated.into())),
            }),
        }
    }
}

impl From<&ContainerState> for api::ContainerState {
    fn from(state: &ContainerState) -> api::ContainerState {
        use api::container_state::State;
        let state = match state {
            ContainerState::Waiting { reason, message } => State::Waiting(api::Waiting {
                reason: reason.clone(),
                message: message.clone(),
            }),
            ContainerState::Running { started_at } => State::Running(api::Running {
                started_at: Some(to_wire_time(*started_at)),
            }),
            ContainerState::Terminated(terminated) => State::Terminated(terminated.into()),
        };
        api::ContainerState { state: Some(state) }
    }
}

impl From<&Terminated> for api::Terminated {
    fn from(terminated: &Terminated) -> api::Terminated {
        api::Terminated {
            exit_code: terminated.exit_code,
            signal: terminated.signal,
            reason: terminated.reason.clone(),
            message: terminated.message.clone(),
            started_at: terminated.started_at.map(to_wire_time),
            finished_at: terminated.finished_at.map(to_wire_time),
            container_id: terminated
                .container_id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_to_the_wire_and_back() {
        for text in [
            "2026-01-01T00:00:00.123456789Z",
            "1969-12-31T23:59:59.5Z",
            "1970-01-01T00:00:00Z",
        ] {
            let time: Timestamp = text.parse().unwrap();
            let wire = to_wire_time(time);
            assert!((0..1_000_000_000).contains(&wire.nanos), "{wire:?}");
            assert_eq!(from_wire_time(&wire), Some(time));
        }
        let never = prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(from_wire_time(&never), None);
    }
}
