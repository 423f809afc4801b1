//! Archives of images: what is in them, and where. The store's import turns it into images.
//!
//! An archive may name a blob before or after what refers to it, so all its files are spooled first (`spool`), then its
//! table of contents is read: `index.json` of an OCI image layout (`layout`), else `manifest.json` of docker
//! (`docker`). Newer dockers write both, and then the first says more.

mod docker;
mod layout;
mod spool;

use std::io;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;

use crate::catalog::NewName;
use crate::document::{DocumentError, Manifest};
use crate::error::Failure;
use crate::unpack;
use crate::{Digest, ErrorKind, InvalidReference};

pub(crate) use spool::Spool;

/// An archive that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("cannot read the archive")]
    Tar(#[source] unpack::ArchiveError),
    #[error("cannot receive the archive")]
    Receive(#[source] io::Error),
    #[error("not an archive of images: neither index.json nor manifest.json is in it")]
    NoIndex,
    #[error("the archive has no file {path:?}")]
    Missing { path: String },
    #[error("{path:?} of the archive is malformed")]
    Json { path: String, source: serde_json::Error },
    #[error("{path:?} of the archive is larger than {limit} bytes")]
    TooLarge { path: String, limit: u64 },
    #[error("the archive is refused: it has more than {0} files")]
    TooMany(u64),
    #[error("the archive is refused: {0}")]
    Refused(String),
    #[error("the name for the image cannot be used")]
    Reference(#[from] InvalidReference),
}

/// An image in an archive.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfiguration,
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) names: Vec<NewName>,
    /// The spooled files of its layers, lowest first.
    pub(crate) blobs: Vec<PathBuf>,
}

impl ArchiveError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            ArchiveError::Tar(error) => error.kind(),
            ArchiveError::Receive(_) => ErrorKind::Unavailable,
            ArchiveError::NoIndex | ArchiveError::Missing { .. } | ArchiveError::Json { .. } => {
                ErrorKind::Corrupt
            }
            ArchiveError::TooLarge { .. }
            | ArchiveError::TooMany(_)
            | ArchiveError::Refused(_)
            | ArchiveError::Reference(_) => ErrorKind::Refused,
        }
    }
}

/// Reads the table of contents of a spooled archive. Blocks.
pub(crate) fn images(spool: &Spool, default_reference: Option<&str>) -> Result<Vec<Found>, Failure> {
    let default = default_reference
        .map(str::parse)
        .transpose()
        .map_err(ArchiveError::Reference)?;
    if spool.has("index.json") {
        layout::images(spool, default.as_ref())
    } else if spool.has("manifest.json") {
        docker::images(spool, default.as_ref())
    } else {
        Err(ArchiveError::NoIndex.into())
    }
}

/// The documents of an image are too large to be those of one.
fn document_error(error: DocumentError) -> Failure {
    error.into()
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |error| Failure::io(&path, error)
}
