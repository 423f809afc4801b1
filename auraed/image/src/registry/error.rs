//! What a registry did not give, in words close to containerd's, which kubectl's users know.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use crate::{Digest, ErrorKind};

/// A request that was not answered as it should have been.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("failed to do request: Get {url:?}: dial tcp {host}: connect: connection refused")]
    ConnectionRefused { url: String, host: String },
    #[error("failed to do request: Get {url:?}: lookup {host}: no such host")]
    NoSuchHost { url: String, host: String },
    #[error("failed to do request: Get {url:?}: timeout")]
    Timeout { url: String },
    #[error("failed to do request: Get {url:?}")]
    Request { url: String, source: reqwest::Error },
    #[error("{url}: not found")]
    NotFound { url: String },
    #[error(
        "pull access denied, repository does not exist or may require authorization: authorization failed: {reason} ({url})"
    )]
    Unauthorized { url: String, reason: String },
    #[error("unexpected status from GET request to {url}: {status}{message}")]
    Status {
        url: String,
        status: reqwest::StatusCode,
        message: String,
    },
    #[error("{url}: the answer is larger than {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    #[error("{what} {digest} is corrupt: digest mismatch, got {actual}")]
    Digest {
        what: &'static str,
        digest: Digest,
        actual: Digest,
    },
    #[error("{url}: the transfer broke off after {received} bytes")]
    Broken {
        url: String,
        received: u64,
        source: Option<reqwest::Error>,
    },
    #[error("the registry at {url} gave a token service that cannot be used: {reason}")]
    TokenService { url: String, reason: &'static str },
    #[error("{answer} (mirror {mirror})")]
    Mirrored {
        mirror: String,
        answer: Box<FetchError>,
        source: Box<FetchError>,
    },
    #[error("{text:?} is not the address of a registry")]
    Address { text: String },
    #[error("cannot use the certificates in {}", path.display())]
    Certificates { path: PathBuf, source: io::Error },
    #[error("cannot make an HTTP client")]
    Client { source: reqwest::Error },
    #[error("no provider of cryptography is installed in this process")]
    NoProvider,
    #[error("there is no place to fetch from")]
    NoPlace,
}

impl FetchError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            FetchError::ConnectionRefused { .. }
            | FetchError::NoSuchHost { .. }
            | FetchError::Timeout { .. }
            | FetchError::Request { .. }
            | FetchError::Broken { .. } => ErrorKind::Unavailable,
            FetchError::NotFound { .. } => ErrorKind::NotFound,
            FetchError::Unauthorized { .. } => ErrorKind::Unauthorized,
            FetchError::Status { status, .. } => match status.as_u16() {
                408 | 429 | 500.. => ErrorKind::Unavailable,
                _ => ErrorKind::Refused,
            },
            FetchError::Digest { .. } => ErrorKind::Corrupt,
            FetchError::TooLarge { .. } | FetchError::TokenService { .. } => ErrorKind::Refused,
            FetchError::Mirrored { answer, .. } => answer.kind(),
            FetchError::Address { .. }
            | FetchError::Certificates { .. }
            | FetchError::Client { .. }
            | FetchError::NoProvider
            | FetchError::NoPlace => ErrorKind::Internal,
        }
    }

    /// The registry has nothing at the offset that was asked for, or says so.
    pub(super) fn is_range(&self) -> bool {
        matches!(self, FetchError::Status { status, .. } if *status == reqwest::StatusCode::RANGE_NOT_SATISFIABLE)
    }

    /// Names the cause of a failed request where it is one that people know.
    pub(super) fn request(url: &reqwest::Url, source: reqwest::Error) -> FetchError {
        let host = match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            _ => String::new(),
        };
        // A redirect may have led elsewhere; its address may hold a signature and is not shown.
        let url = url.to_string();
        let source = source.without_url();
        if source.is_timeout() {
            return FetchError::Timeout { url };
        }
        let mut cause = source.source();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>()
                && error.kind() == io::ErrorKind::ConnectionRefused
            {
                return FetchError::ConnectionRefused { url, host };
            }
            if source.is_connect() && error.to_string().starts_with("failed to lookup address") {
                return FetchError::NoSuchHost { url, host };
            }
            cause = error.source();
        }
        FetchError::Request { url, source }
    }
}
