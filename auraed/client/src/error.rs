//! Why there is no connection, in words that say what to do.

use crate::ClientConfig;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use tonic::Status;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nothing is at the socket's path.
    #[error("there is no socket {}: is auraed running, with this run directory?", socket.display())]
    Missing {
        /// The daemon's socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The socket is there, nobody listens.
    #[error("nobody answers at {}: auraed was stopped or has crashed; start it", socket.display())]
    Refused {
        /// The daemon's socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The user may not open the socket.
    #[error(
        "no permission to open {}: run as root, or let this user into its directory",
        socket.display()
    )]
    Forbidden {
        /// The daemon's socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be opened for another reason.
    #[error("cannot open the socket {}", socket.display())]
    Socket {
        /// The daemon's socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the client's identity cannot be read.
    #[error(
        "cannot read {}: an identity is made by `auraed identity issue NAME --out DIR --owner USER` as root",
        path.display()
    )]
    Identity {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the client's identity does not hold what it should.
    #[error("{} holds no {what}: make the identity anew with `auraed identity issue`", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The daemon's certificate is not of the authority that the client knows.
    #[error(
        "the daemon at {} has a certificate of another authority than {}: the identity is of another node, or the \
         daemon made a new authority; issue it anew",
        socket.display(),
        authority.display()
    )]
    Stranger {
        /// The daemon's socket.
        socket: PathBuf,
        /// The client's copy of the authority's certificate.
        authority: PathBuf,
        /// What TLS said.
        #[source]
        source: io::Error,
    },
    /// The daemon did not accept the client's certificate.
    #[error(
        "the daemon at {} does not accept the certificate in {}: it is of another node, or has expired; issue it anew \
         with `auraed identity issue`",
        socket.display(),
        identity.display()
    )]
    Rejected {
        /// The daemon's socket.
        socket: PathBuf,
        /// The client's identity.
        identity: PathBuf,
        /// What TLS said.
        #[source]
        source: io::Error,
    },
    /// The handshake failed for another reason.
    #[error("the TLS handshake with {} failed", socket.display())]
    Handshake {
        /// The daemon's socket.
        socket: PathBuf,
        /// What TLS said.
        #[source]
        source: io::Error,
    },
    /// The daemon accepted and says nothing.
    #[error("the daemon at {} does not answer in time", socket.display())]
    Silent {
        /// The daemon's socket.
        socket: PathBuf,
    },
    /// The daemon answered the first call with an error.
    #[error("the daemon at {} does not serve: {}", socket.display(), source.message())]
    Unhealthy {
        /// The daemon's socket.
        socket: PathBuf,
        /// What the first call said.
        #[source]
        source: Box<Status>,
    },
}

impl ConnectError {
    /// Whether waiting may help: the daemon is away or busy, nothing is wrong with the client.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. }
                | Self::Refused { .. }
                | Self::Handshake { .. }
                | Self::Silent { .. }
                | Self::Unhealthy { .. }
        )
    }

    pub(crate) fn socket(socket: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { socket, source },
            io::ErrorKind::ConnectionRefused => Self::Refused { socket, source },
            io::ErrorKind::PermissionDenied => Self::Forbidden { socket, source },
            _ => Self::Socket { socket, source },
        }
    }

    pub(crate) fn handshake(config: &ClientConfig, source: io::Error) -> Self {
        let socket = config.socket.clone();
        match source.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(_)) => Self::Stranger {
                socket,
                authority: config.identity.join("ca.crt"),
                source,
            },
            // By its word the other side ends the handshake; what it may have against this one is the certificate.
            Some(rustls::Error::AlertReceived(_)) => Self::Rejected {
                socket,
                identity: config.identity.clone(),
                source,
            },
            _ => Self::Handshake { socket, source },
        }
    }
}

/// Finds in a call's status why the connection could not be made, where that is the reason.
#[must_use]
pub fn connect_error(status: &Status) -> Option<&ConnectError> {
    chain(status).find_map(|error| error.downcast_ref())
}

fn chain(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |error| (*error).source())
}
