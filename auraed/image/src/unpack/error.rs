//! Why a layer was not unpacked.

use std::io;

use crate::ErrorKind;

/// A tar stream that cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("the archive ends in the middle of {0}")]
    Truncated(&'static str),
    #[error("malformed archive: {0}")]
    Malformed(&'static str),
    #[error("entry {entry:?} is refused: {what} is longer than {limit} bytes")]
    TooLong {
        entry: String,
        what: &'static str,
        limit: u64,
    },
    #[error("the layer is refused: it has more than {0} entries")]
    TooMany(u64),
    #[error("entry {entry:?} is refused: {what} is not supported")]
    Unsupported { entry: String, what: &'static str },
    #[error("cannot read the layer")]
    Read(#[source] io::Error),
}

/// A layer that cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("entry {entry:?} is refused: {reason}")]
    Refused { entry: String, reason: &'static str },
    #[error("entry {entry:?} is refused: its hard link to {target:?} {reason}")]
    Link {
        entry: String,
        target: String,
        reason: &'static str,
    },
    #[error("no space left on device")]
    NoSpace,
    #[error("cannot {operation} {entry:?}")]
    Io {
        operation: &'static str,
        entry: String,
        source: io::Error,
    },
}

impl ArchiveError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            ArchiveError::Truncated(_) | ArchiveError::Malformed(_) => ErrorKind::Corrupt,
            ArchiveError::TooLong { .. } | ArchiveError::TooMany(_) | ArchiveError::Unsupported { .. } => {
                ErrorKind::Refused
            }
            ArchiveError::Read(error) => read_kind(error),
        }
    }
}

impl UnpackError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            UnpackError::Archive(error) => error.kind(),
            UnpackError::Refused { .. } | UnpackError::Link { .. } => ErrorKind::Refused,
            UnpackError::NoSpace => ErrorKind::NoSpace,
            UnpackError::Io { .. } => ErrorKind::Internal,
        }
    }

    /// For a failed call that made `entry`.
    pub(super) fn io(operation: &'static str, entry: &[u8], source: impl Into<io::Error>) -> UnpackError {
        let source = source.into();
        if is_full(&source) {
            return UnpackError::NoSpace;
        }
        UnpackError::Io {
            operation,
            entry: show(entry),
            source,
        }
    }

    pub(super) fn refused(entry: &[u8], reason: &'static str) -> UnpackError {
        UnpackError::Refused {
            entry: show(entry),
            reason,
        }
    }
}

/// The inflaters say with `InvalidData`, `InvalidInput` and `Other` that their input is not what it should be.
pub(crate) fn read_kind(error: &io::Error) -> ErrorKind {
    if error.raw_os_error().is_some() {
        ErrorKind::Internal
    } else {
        ErrorKind::Corrupt
    }
}

/// Whether a call failed for want of room or quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    // The kind, because an error of fs-err has no code of its own.
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A name from a layer as it may stand in a message: bounded, and without what a terminal would act on (the messages
/// print it with `{:?}`).
pub(crate) fn show(name: &[u8]) -> String {
    const SHOWN: usize = 256;
    let text = String::from_utf8_lossy(&name[..name.len().min(SHOWN)]).into_owned();
    if name.len() > SHOWN { text + "…" } else { text }
}
