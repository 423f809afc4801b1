//! What goes wrong on the way to the API server.

use std::path::PathBuf;
use std::time::Duration;

/// Why there is no way to the cluster. None of these goes away by waiting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The kubeconfig, or a file that it names, is missing, unreadable or not what it should be.
    #[error("cannot use the kubeconfig {}", path.display())]
    Kubeconfig {
        /// As given.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// It has neither certificate nor token.
    #[error(
        "the kubeconfig {} names no credentials: its user needs client-certificate and client-key, token or tokenFile",
        path.display()
    )]
    NoCredentials {
        /// As given.
        path: PathBuf,
    },
    /// It is another node's.
    #[error(
        "the client certificate in {} is of node {certificate}, but this node is {node}: give --hostname-override={certificate} or the right kubeconfig",
        path.display()
    )]
    OtherNode {
        /// As given.
        path: PathBuf,
        /// Name in the certificate.
        certificate: String,
        /// Our name.
        node: String,
    },
    /// Its CA, certificate or key do not work.
    #[error("cannot use the certificates of the kubeconfig {}", path.display())]
    Certificates {
        /// As given.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No answer in time.
    #[error("the API server does not answer in time")]
    Timeout,
    /// The server said no.
    #[error("{}", .0.message)]
    Refused(Box<kube::core::Status>),
    /// There was no connection, or its answer made no sense.
    #[error("cannot reach the API server")]
    Connection(#[source] Box<kube::Error>),
}

impl CallError {
    /// The HTTP status, where the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            CallError::Refused(status) => Some(status.code),
            CallError::Timeout | CallError::Connection(_) => None,
        }
    }

    /// True where the server is there and said something.
    pub fn is_answer(&self) -> bool {
        matches!(self, CallError::Refused(_))
    }

    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// The object is another than we thought, or there is one of the name already.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// We may not; for a node this also means "not yet", until the authorizer has seen the pod.
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// The server will say the same to the same request.
    pub fn is_final(&self) -> bool {
        matches!(self.code(), Some(400 | 404 | 405 | 409 | 413 | 422))
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            CallError::Refused(status) => {
                let seconds = status.details.as_ref()?.retry_after_seconds;
                (seconds > 0).then(|| Duration::from_secs(u64::from(seconds.min(60))))
            }
            CallError::Timeout | CallError::Connection(_) => None,
        }
    }
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => CallError::Refused(status),
            error => CallError::Connection(Box::new(error)),
        }
    }
}
