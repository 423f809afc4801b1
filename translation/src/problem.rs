//! Why a pod cannot be handed to auraed: now, or ever.

use std::fmt;

/// One thing that stands against a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What follows from it.
    pub kind: Kind,
    /// The path of the field, as `spec.containers[0].env[1].valueFrom`.
    pub field: String,
    /// A sentence for people, as kubelet words it where kubelet has one.
    pub message: String,
}

/// What follows from a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This node cannot run the pod: phase Failed with this `status.reason`. It does not go away.
    Refused(&'static str),
    /// The container waits in CreateContainerConfigError until an object appears or changes.
    Config {
        /// The container's name.
        container: String,
    },
    /// The pod waits in ContainerCreating until the volume's object appears or changes (event FailedMount).
    Volume {
        /// The volume's name.
        volume: String,
    },
}

impl Problem {
    /// True where no change of another object can help.
    pub fn is_final(&self) -> bool {
        matches!(self.kind, Kind::Refused(_))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for Problem {}
