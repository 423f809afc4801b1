//! What went wrong, in the words that people know from other container engines, and of a kind that callers can act on.

use std::path::PathBuf;

/// What a caller may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such image, tag, digest or platform.
    NotFound,
    /// The registry wants other credentials, or some at all.
    Unauthorized,
    /// The registry could not be reached or failed; trying again may help.
    Unavailable,
    /// Content is not what its digest or its format promises.
    Corrupt,
    /// The disk is full.
    NoSpace,
    /// Content that this node does not take: a layer that leaves its root, an unknown format, too large a document.
    Refused,
    /// The node's own fault: input and output, state.
    Internal,
}

/// An image could not be pulled.
#[derive(Debug, Clone, thiserror::Error)]
#[error("failed to pull image {reference:?}")]
pub struct PullError {
    /// What was to be pulled.
    pub reference: String,
}

impl PullError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// An archive could not be imported.
#[derive(Debug, thiserror::Error)]
#[error("failed to import images")]
pub struct ImportError {}

impl ImportError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A directory could not be made or read.
    #[error("cannot prepare the image directory {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// An image could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is no such image.
    #[error("image {reference:?}: not found")]
    NotFound {
        /// What was asked for.
        reference: String,
    },
    /// A container uses it.
    #[error("image {reference:?} is in use by a container")]
    InUse {
        /// What was asked for.
        reference: String,
    },
    /// The index could not be written.
    #[error("cannot record the removal of image {id}")]
    Index {
        /// The image.
        id: String,
        /// Why.
        source: crate::IndexError,
    },
}
