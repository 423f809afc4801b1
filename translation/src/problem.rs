//! Why a pod cannot be handed to auraed: now, or ever.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;

/// One thing that stands against a pod, or that its owner should know of.
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
    /// The container waits in CreateContainerConfigError until an object appears or changes (event Failed).
    Config {
        /// The container's name.
        container: String,
    },
    /// The whole pod waits in ContainerCreating until an object appears or changes.
    Waiting {
        /// The event's reason: `FailedMount` or `FailedCreatePodSandBox`.
        event: &'static str,
    },
    /// The pod runs all the same (see [`crate::pod::warnings`]).
    Warning {
        /// The event's reason.
        event: &'static str,
    },
}

impl Problem {
    /// True where no change of another object can help.
    pub fn is_final(&self) -> bool {
        matches!(self.kind, Kind::Refused(_))
    }

    /// The list and the name of the container that it is about, in the pod's spec.
    pub(crate) fn container<'a>(&'a self, pod: &Pod) -> Option<(&'static str, &'a str)> {
        let Kind::Config { container } = &self.kind else {
            return None;
        };
        let spec = pod.spec.as_ref()?;
        let init = spec
            .init_containers
            .iter()
            .flatten()
            .any(|one| one.name == *container);
        Some((if init { "initContainers" } else { "containers" }, container))
    }

    /// The reason of the event that tells of it; all such events are warnings.
    pub fn event(&self) -> &'static str {
        match self.kind {
            Kind::Refused(reason) => reason,
            Kind::Config { .. } => "Failed",
            Kind::Waiting { event } | Kind::Warning { event } => event,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for Problem {}

/// The problems found so far, and the words for adding one.
#[derive(Debug, Default)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

/// `status.reason` of a pod that holds what this node cannot serve, where kubelet has no word of its own.
pub(crate) const UNSUPPORTED: &str = "UnsupportedPod";

impl Problems {
    pub(crate) fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.refuse_as(UNSUPPORTED, field, message);
    }

    pub(crate) fn refuse_as(
        &mut self,
        reason: &'static str,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.add(Kind::Refused(reason), field, message);
    }

    pub(crate) fn config(&mut self, container: &str, field: impl Into<String>, message: impl Into<String>) {
        self.add(
            Kind::Config {
                container: container.to_owned(),
            },
            field,
            message,
        );
    }

    pub(crate) fn wait(&mut self, event: &'static str, field: impl Into<String>, message: impl Into<String>) {
        self.add(Kind::Waiting { event }, field, message);
    }

    pub(crate) fn warn(&mut self, event: &'static str, field: impl Into<String>, message: impl Into<String>) {
        self.add(Kind::Warning { event }, field, message);
    }

    /// The problems that keep a pod from running.
    pub(crate) fn blocking(self) -> Vec<Problem> {
        self.0
            .into_iter()
            .filter(|problem| !matches!(problem.kind, Kind::Warning { .. }))
            .collect()
    }

    /// The problems that do not.
    pub(crate) fn warnings(self) -> Vec<Problem> {
        self.0
            .into_iter()
            .filter(|problem| matches!(problem.kind, Kind::Warning { .. }))
            .collect()
    }

    fn add(&mut self, kind: Kind, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            kind,
            field: field.into(),
            message: message.into(),
        });
    }
}
