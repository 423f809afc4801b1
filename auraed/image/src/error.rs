//! What went wrong, in the words that people know from other container engines, and of a kind that callers can act on.
//!
//! The messages of this crate do not repeat their sources: print the whole chain.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::correction::CorrectionError;
use crate::credentials::DockerConfigError;
use crate::document::DocumentError;
use crate::import::ArchiveError;
use crate::layer::LayerError;
use crate::registry::FetchError;
use crate::store::IndexError;
use crate::{Digest, unpack};

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
    /// The node's own fault: input and output, state, configuration.
    Internal,
}

/// An image could not be pulled. All who waited for one pull get the same.
#[derive(Debug, Clone, thiserror::Error)]
#[error("failed to pull image {reference:?}")]
pub struct PullError {
    pub(crate) reference: String,
    #[source]
    pub(crate) cause: Arc<Failure>,
}

impl PullError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.cause.kind()
    }
}

/// An archive could not be imported. Its images before the one that failed were.
#[derive(Debug, thiserror::Error)]
#[error("failed to import images")]
pub struct ImportError {
    #[source]
    pub(crate) cause: Failure,
}

impl ImportError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.cause.kind()
    }
}

impl From<Failure> for ImportError {
    fn from(cause: Failure) -> ImportError {
        ImportError { cause }
    }
}

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A directory could not be made, read or cleared.
    #[error("cannot prepare the image directory {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The index could not be told that an image's layers are gone.
    #[error("cannot forget image {id}, whose layers are gone")]
    Index {
        /// The image.
        id: String,
        /// Why.
        source: IndexError,
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
        source: IndexError,
    },
}

/// The step of a pull or import that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("failed to resolve reference {reference:?}")]
    Resolve { reference: String, source: FetchError },
    #[error("failed to fetch {what} {digest}")]
    Fetch {
        what: &'static str,
        digest: Digest,
        source: FetchError,
    },
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    DockerConfig(#[from] DockerConfigError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Correction(CorrectionError),
    #[error("no space left on the file system of {}", directory.display())]
    NoSpace { directory: PathBuf },
    #[error("cannot use {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot record image {id}")]
    Index { id: String, source: IndexError },
    #[error("the work was stopped")]
    Stopped,
}

impl Failure {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Failure::Resolve { source, .. } | Failure::Fetch { source, .. } => source.kind(),
            Failure::Document(error) => error.kind(),
            Failure::Layer(error) => error.kind(),
            Failure::Archive(error) => error.kind(),
            Failure::NoSpace { .. } => ErrorKind::NoSpace,
            Failure::Correction(error) => error.kind(),
            Failure::DockerConfig(_) | Failure::Io { .. } | Failure::Index { .. } | Failure::Stopped => {
                ErrorKind::Internal
            }
        }
    }

    /// A failed call on a path of the store.
    pub(crate) fn io(path: &Path, source: io::Error) -> Failure {
        let path = path.to_owned();
        if unpack::is_full(&source) {
            Failure::NoSpace { directory: path }
        } else {
            Failure::Io { path, source }
        }
    }
}

/// An error with all its sources, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
