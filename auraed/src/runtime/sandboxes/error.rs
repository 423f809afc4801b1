//! Why a call on a sandbox or a container failed.

use crate::network::NetworkFailure;
use auraed_sandbox::StartError;
use auraed_state::StateError;
use auraed_types::Problem;
use std::io;
use tonic::Code;

/// Why a call on a sandbox or a container failed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Fields do not hold what they must.
    #[error("the {what} is not valid: {}", list(problems))]
    Invalid {
        /// `sandbox`, `container` or `update`.
        what: &'static str,
        /// All of them.
        problems: Vec<Problem>,
    },
    /// No sandbox has this id or this beginning of one.
    #[error("sandbox {id:?} not found")]
    NoSandbox {
        /// As it was asked for.
        id: String,
    },
    /// No container has this id or this beginning of one.
    #[error("container {id:?} not found")]
    NoContainer {
        /// As it was asked for.
        id: String,
    },
    /// The image is not on the node.
    #[error("image {reference:?} not found")]
    NoImage {
        /// As it was asked for.
        reference: String,
    },
    /// The node has no such runtime handler.
    #[error("no runtime for {handler:?} is configured")]
    NoHandler {
        /// As it was asked for.
        handler: String,
    },
    /// Several ids begin so.
    #[error("{id:?} is the beginning of more than one id")]
    Ambiguous {
        /// As it was asked for.
        id: String,
    },
    /// The id is another's.
    #[error("{what} {id:?} exists already, with another spec")]
    Differs {
        /// `sandbox` or `container`.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// The name is another's.
    #[error("{what} {name:?} exists already, as {owner:?}")]
    NameTaken {
        /// `sandbox` or `container`.
        what: &'static str,
        /// The name, and what makes it unique.
        name: String,
        /// Whose it is: an id.
        owner: String,
    },
    /// The id is that of something else: sandboxes and pods share directories, cgroups and network.
    #[error("{id:?} is the id of a {what} of this node")]
    Foreign {
        /// The id.
        id: String,
        /// `pod` or `sandbox`.
        what: &'static str,
    },
    /// Nothing can be made in the sandbox, or asked of it, any more.
    #[error("sandbox {id:?} has stopped")]
    NotReady {
        /// Its id.
        id: String,
    },
    /// The container is not in the state that the call needs.
    #[error("container {id:?} is {is}, not {wanted}")]
    State {
        /// Its id.
        id: String,
        /// What it is.
        is: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// The values of a container's environment went with the memory that held them.
    #[error("the environment of container {id:?} is lost: make the container anew")]
    EnvironmentLost {
        /// Its id.
        id: String,
    },
    /// The container's program does not run.
    #[error("cannot start container {id:?}")]
    Start {
        /// Its id.
        id: String,
        /// Why.
        #[source]
        source: Box<StartError>,
    },
    /// The sandbox does not do as it is told.
    #[error("cannot {action} {id:?}")]
    Sandbox {
        /// What was to be done.
        action: &'static str,
        /// To which sandbox or container.
        id: String,
        /// Why.
        #[source]
        source: Box<auraed_sandbox::Error>,
    },
    /// The sandbox's network.
    #[error("cannot {action} the network of sandbox {id:?}")]
    Network {
        /// What was to be done.
        action: &'static str,
        /// To which sandbox.
        id: String,
        /// Why.
        #[source]
        source: Box<NetworkFailure>,
    },
    /// It cannot be written down.
    #[error(transparent)]
    Record(#[from] StateError),
    /// Files cannot be made.
    #[error("cannot {action} {id:?}")]
    Files {
        /// What was to be done.
        action: &'static str,
        /// To which sandbox or container.
        id: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A watcher is too slow.
    #[error("{missed} events were missed: list anew")]
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The daemon stops, or what did the work failed.
    #[error("the daemon is stopping")]
    Stopping,
}

impl SandboxError {
    /// The canonical code, and the word for programs.
    pub(crate) fn kind(&self) -> (Code, &'static str) {
        match self {
            Self::Invalid { .. } => (Code::InvalidArgument, "INVALID_ARGUMENT"),
            Self::NoSandbox { .. } => (Code::NotFound, "SANDBOX_NOT_FOUND"),
            Self::NoContainer { .. } => (Code::NotFound, "CONTAINER_NOT_FOUND"),
            Self::NoImage { .. } => (Code::NotFound, "IMAGE_NOT_FOUND"),
            Self::NoHandler { .. } => (Code::InvalidArgument, "NO_RUNTIME_HANDLER"),
            Self::Ambiguous { .. } => (Code::FailedPrecondition, "AMBIGUOUS"),
            Self::Differs { .. } | Self::NameTaken { .. } | Self::Foreign { .. } => {
                (Code::AlreadyExists, "EXISTS")
            }
            Self::NotReady { .. } => (Code::FailedPrecondition, "SANDBOX_STOPPED"),
            Self::State { .. } => (Code::FailedPrecondition, "CONTAINER_STATE"),
            Self::EnvironmentLost { .. } => (Code::FailedPrecondition, "ENVIRONMENT_LOST"),
            Self::Start { source, .. } => match source.as_ref() {
                StartError::Refused(_) => (Code::InvalidArgument, "START_REFUSED"),
                StartError::Sandbox(source) => sandbox(source),
            },
            Self::Sandbox { source, .. } => sandbox(source),
            Self::Network { .. } => (Code::Internal, "NETWORK"),
            Self::Record(StateError::Closed) | Self::Stopping => (Code::Unavailable, "STOPPING"),
            Self::Record(_) => (Code::Internal, "NOT_RECORDED"),
            Self::Files { .. } => (Code::Internal, "FILES"),
            Self::Lagged { .. } => (Code::ResourceExhausted, "LAGGED"),
        }
    }

    /// The wrong fields, where there are any.
    pub(crate) fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid { problems, .. } => problems,
            _ => &[],
        }
    }
}

fn sandbox(error: &auraed_sandbox::Error) -> (Code, &'static str) {
    use auraed_sandbox::Error as E;
    match error {
        E::Gone => (Code::FailedPrecondition, "SANDBOX_STOPPED"),
        E::NotRunning => (Code::FailedPrecondition, "CONTAINER_NOT_RUNNING"),
        E::Refused(_) => (Code::InvalidArgument, "REFUSED"),
        E::Exists => (Code::AlreadyExists, "EXISTS"),
        _ => (Code::Internal, "SANDBOX"),
    }
}

fn list(problems: &[Problem]) -> String {
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    problems.join("; ")
}
