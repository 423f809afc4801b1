//! The one map from errors to gRPC statuses.
//!
//! A status carries the whole chain of an error as its message, a stable word for programs (`ErrorInfo`), and the wrong
//! fields where there are any (`BadRequest`). Errors of this daemon carry no secrets, so all of them may be told.

use crate::network::AssignmentError;
use crate::observe::{LogError, NodeError};
use crate::runtime::DialError;
use crate::runtime::sandboxes::SandboxError;
use crate::schedule::EngineError;
use auraed_identity::InvalidClientId;
use auraed_image::{ErrorKind, ImportError, InvalidReference, PullError, RemoveError};
use auraed_types::{InvalidPod, Problem};
use std::collections::HashMap;
use std::error::Error;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// The domain of the words in `ErrorInfo`.
const DOMAIN: &str = "auraed";

/// Statuses travel in HTTP/2 headers, of which clients take 16 KiB; the message twice, once of these with each byte that
/// is neither letter, digit nor one of a few signs as three (grpc's PROTOCOL-HTTP2.md), once in base64 with the details.
const MESSAGE_BYTES: usize = 3072;
const MESSAGE_ENCODED_BYTES: usize = 4096;
const VIOLATIONS: usize = 16;
const VIOLATION_BYTES: usize = 150;

/// Every reason for which a request can fail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the connection carries no certificate")]
    NoPeer,
    #[error("unknown caller")]
    Caller(#[source] InvalidClientId),
    #[error("{caller} may not call {method}")]
    Denied { caller: String, method: String },
    #[error("there is no method {method}")]
    UnknownMethod { method: String },
    #[error("the daemon is stopping")]
    Stopping,
    #[error("{field}: {rule}")]
    Argument { field: &'static str, rule: String },
    #[error("the pod is not valid: {0}")]
    Pod(InvalidPod),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("image reference {text:?} is not valid")]
    Reference {
        text: String,
        #[source]
        source: InvalidReference,
    },
    #[error("image {reference:?} not found")]
    NoImage { reference: String },
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    RemoveImage(#[from] RemoveError),
    #[error("cannot {action} in container {container:?} of pod {pod:?}")]
    Sandbox {
        action: &'static str,
        pod: String,
        container: String,
        #[source]
        source: Box<auraed_sandbox::Error>,
    },
    #[error("cannot connect to port {port} of pod {pod:?}")]
    Dial {
        port: u16,
        pod: String,
        #[source]
        source: DialError,
    },
    #[error("the client did not keep up with the container's output")]
    TooSlow,
    #[error(transparent)]
    Executive(#[from] SandboxError),
    #[error("cannot measure what containers wrote")]
    Usage(#[source] std::io::Error),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
}

impl Failure {
    pub(crate) fn argument(field: &'static str, rule: impl Into<String>) -> Self {
        Self::Argument {
            field,
            rule: rule.into(),
        }
    }

    pub(crate) fn into_status(self) -> Status {
        self.into()
    }

    /// The canonical code, and the word for programs.
    fn kind(&self) -> (Code, &'static str) {
        match self {
            Self::NoPeer | Self::Caller(_) => (Code::Unauthenticated, "UNKNOWN_CALLER"),
            Self::Denied { .. } => (Code::PermissionDenied, "DENIED"),
            Self::UnknownMethod { .. } => (Code::Unimplemented, "UNKNOWN_METHOD"),
            Self::Stopping => (Code::Unavailable, "STOPPING"),
            Self::Argument { .. } => (Code::InvalidArgument, "INVALID_ARGUMENT"),
            Self::Pod(_) => (Code::InvalidArgument, "INVALID_POD"),
            Self::Engine(error) => engine(error),
            Self::Reference { .. } => (Code::InvalidArgument, "INVALID_REFERENCE"),
            Self::NoImage { .. } => (Code::NotFound, "IMAGE_NOT_FOUND"),
            Self::Pull(error) => image(error.kind()),
            Self::Import(error) => image(error.kind()),
            Self::RemoveImage(error) => removal(error),
            Self::Sandbox { source, .. } => sandbox(source),
            Self::Dial {
                source: DialError::Refused { .. },
                ..
            } => (Code::FailedPrecondition, "PORT_REFUSED"),
            Self::Dial { .. } => (Code::Internal, "NETWORK"),
            Self::TooSlow => (Code::ResourceExhausted, "TOO_SLOW"),
            Self::Executive(error) => error.kind(),
            Self::Usage(_) => (Code::Internal, "FILES"),
            Self::Log(error) => error.kind(),
            Self::Node(_) => (Code::Internal, "NODE_UNREADABLE"),
            Self::Assignment(error) => assignment(error),
        }
    }

    fn violations(&self) -> &[Problem] {
        match self {
            Self::Pod(invalid) => invalid.problems(),
            Self::Engine(EngineError::Refused { problems }) => problems,
            Self::Executive(error) => error.problems(),
            _ => &[],
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let (code, reason) = failure.kind();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
        let problems = failure.violations();
        if !problems.is_empty() {
            let violations: Vec<_> = problems.iter().take(VIOLATIONS).map(violation).collect();
            details.set_bad_request(violations);
        }
        Self::with_error_details(code, cut_message(&chain(&failure)), details)
    }
}

/// The error and all that caused it: "what: why: why".
///
/// A cause that the text before it ends with is left out, for a transparent error says what its cause says.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

fn engine(error: &EngineError) -> (Code, &'static str) {
    match error {
        EngineError::PodNotFound { .. } => (Code::NotFound, "POD_NOT_FOUND"),
        EngineError::Ambiguous { .. } => (Code::FailedPrecondition, "AMBIGUOUS"),
        EngineError::ContainerNotFound { .. } => (Code::NotFound, "CONTAINER_NOT_FOUND"),
        EngineError::ContainerWaiting { .. } => (Code::FailedPrecondition, "CONTAINER_WAITING"),
        EngineError::PodNotRunning { .. } => (Code::FailedPrecondition, "POD_NOT_RUNNING"),
        EngineError::ContainerNotRunning { .. } => (Code::FailedPrecondition, "CONTAINER_NOT_RUNNING"),
        EngineError::NoPreviousRun { .. } => (Code::NotFound, "NO_PREVIOUS_RUN"),
        EngineError::VolumeNotFound { .. } => (Code::NotFound, "VOLUME_NOT_FOUND"),
        EngineError::Refused { .. } => (Code::FailedPrecondition, "REFUSED"),
        EngineError::Removing { .. } => (Code::FailedPrecondition, "REMOVING"),
        EngineError::Record { .. } => (Code::Internal, "NOT_RECORDED"),
        EngineError::Files { .. } => (Code::Internal, "FILES"),
        EngineError::Closed => (Code::Unavailable, "STOPPING"),
    }
}

fn image(kind: ErrorKind) -> (Code, &'static str) {
    match kind {
        ErrorKind::NotFound => (Code::NotFound, "IMAGE_NOT_FOUND"),
        // The registry refuses, not this daemon: UNAUTHENTICATED would speak of the caller's own certificate.
        ErrorKind::Unauthorized => (Code::PermissionDenied, "REGISTRY_UNAUTHORIZED"),
        ErrorKind::Unavailable => (Code::Unavailable, "REGISTRY_UNAVAILABLE"),
        ErrorKind::Corrupt => (Code::DataLoss, "IMAGE_CORRUPT"),
        ErrorKind::NoSpace => (Code::ResourceExhausted, "NO_SPACE"),
        ErrorKind::Refused => (Code::FailedPrecondition, "IMAGE_REFUSED"),
        ErrorKind::Internal => (Code::Internal, "IMAGE_STORE"),
    }
}

fn removal(error: &RemoveError) -> (Code, &'static str) {
    match error {
        RemoveError::NotFound { .. } => (Code::NotFound, "IMAGE_NOT_FOUND"),
        RemoveError::InUse { .. } => (Code::FailedPrecondition, "IMAGE_IN_USE"),
        _ => (Code::Internal, "IMAGE_STORE"),
    }
}

fn sandbox(error: &auraed_sandbox::Error) -> (Code, &'static str) {
    use auraed_sandbox::Error as E;
    match error {
        E::Gone => (Code::FailedPrecondition, "SANDBOX_GONE"),
        E::NotRunning => (Code::FailedPrecondition, "CONTAINER_NOT_RUNNING"),
        E::Refused(_) => (Code::FailedPrecondition, "REFUSED"),
        _ => (Code::Internal, "SANDBOX"),
    }
}

fn assignment(error: &AssignmentError) -> (Code, &'static str) {
    match error {
        AssignmentError::Subnet { .. }
        | AssignmentError::Request(_)
        | AssignmentError::NodeAddress { .. } => (Code::InvalidArgument, "INVALID_ARGUMENT"),
        AssignmentError::PodAddress { .. } => (Code::FailedPrecondition, "ADDRESS_IN_USE"),
        AssignmentError::Network(_) => (Code::Internal, "NETWORK"),
    }
}

fn violation(problem: &Problem) -> FieldViolation {
    FieldViolation::new(
        cut(&problem.field, VIOLATION_BYTES),
        cut(&problem.reason, VIOLATION_BYTES),
    )
}

/// Cuts a message to what may travel, whatever it is written in.
fn cut_message(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!$&'()*+,-./:;=@[\\]^_|~".contains(&byte);
    let mut encoded = 0;
    let fits = text.bytes().take_while(|byte| {
        encoded += if plain(*byte) { 1 } else { 3 };
        encoded <= MESSAGE_ENCODED_BYTES
    });
    let longest = fits.count().min(MESSAGE_BYTES);
    cut(text, longest)
}

/// Cuts at a character's boundary, and shows that it did.
fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let mut end = longest.saturating_sub(3);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn the_whole_chain_is_told_once() {
        let error = Failure::Sandbox {
            action: "run a program",
            pod: "p".into(),
            container: "c".into(),
            source: Box::new(auraed_sandbox::Error::Step {
                step: "connect to the init",
                id: "p".into(),
                source: io::Error::from_raw_os_error(2),
            }),
        };
        let status = error.into_status();
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(
            status.message(),
            "cannot run a program in container \"c\" of pod \"p\": cannot connect to the init of pod p: No such file or \
             directory (os error 2)"
        );
        assert_eq!(status.get_details_error_info().unwrap().reason, "SANDBOX");
    }

    #[test]
    fn wrong_fields_are_named_one_by_one() {
        let problems = vec![
            Problem {
                field: "containers[0].image".into(),
                reason: "must not be empty".into(),
            },
            Problem {
                field: "name".into(),
                reason: "must not be empty".into(),
            },
        ];
        let status = Failure::from(EngineError::Refused { problems }).into_status();
        assert_eq!(status.code(), Code::FailedPrecondition);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations.len(), 2);
        assert_eq!(violations[0].field, "containers[0].image");
    }

    #[test]
    fn a_status_fits_into_headers() {
        // What clients take by default, where each header counts for 32 bytes more (RFC 9113, section 6.5.2).
        const LIST_BYTES: usize = 16 << 10;
        const OTHER_HEADERS: usize = 512;
        for letter in ["a", " ", "\"", "\u{fc}", "\u{65e5}", "%", "\n"] {
            let problem = || Problem {
                field: letter.repeat(4000),
                reason: letter.repeat(4000),
            };
            let problems = std::iter::repeat_with(problem).take(200).collect();
            let status = Failure::from(EngineError::Refused { problems }).into_status();
            let mut headers = tonic::codegen::http::HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            let size = |(name, value): (
                &tonic::codegen::http::HeaderName,
                &tonic::codegen::http::HeaderValue,
            )| { name.as_str().len() + value.len() + 32 };
            let bytes: usize = headers.iter().map(size).sum();
            assert!(bytes <= LIST_BYTES - OTHER_HEADERS, "{bytes} bytes of {letter:?}");
            assert!(status.message().len() > 500, "{}", status.message().len());
        }
    }
}
