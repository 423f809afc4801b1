//! What can go wrong with an identity. No variant carries key material.

use std::io;
use std::path::PathBuf;

/// What can go wrong with an identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A directory cannot be made.
    #[error("cannot make the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The lock on the directory cannot be had.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written; the old one, if any, is as it was.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error(
        "{} holds no usable {what}: restore it from a copy, or move the directory {} away to begin with a new authority \
         (every client's certificate must then be issued again)",
        path.display(),
        directory.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The identity's directory.
        directory: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The authority's certificate is there and its key is not.
    #[error(
        "{} is missing beside its certificate: restore it from a copy, or move the directory {} away to begin with a new \
         authority (every client's certificate must then be issued again)",
        path.display(),
        directory.display()
    )]
    KeyMissing {
        /// The key's file.
        path: PathBuf,
        /// The identity's directory.
        directory: PathBuf,
    },
    /// The authority's time is over.
    #[error(
        "the certificate authority in {} has expired: check the machine's clock; else move the directory away to begin \
         with a new authority (every client's certificate must then be issued again)",
        directory.display()
    )]
    Expired {
        /// The identity's directory.
        directory: PathBuf,
    },
    /// A key or a certificate cannot be made.
    #[error("cannot make the {what}")]
    Make {
        /// What was being made.
        what: &'static str,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// TLS cannot use the certificates.
    #[error("TLS cannot use the daemon's certificates")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}
