//! The store: the images of this node. A cheap handle; all clones are one store.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use crate::{Config, Credentials, Image, ImportError, OpenError, Progress, PullError, Reference, RemoveError};

/// Why the index could not be written.
pub type IndexError = Box<dyn std::error::Error + Send + Sync>;

/// Keeps images across restarts. The daemon implements it on its database.
pub trait Index: Send + Sync {
    /// Writes an image, in place of an older one with its id.
    fn put<'a>(&'a self, image: &'a Image) -> BoxFuture<'a, Result<(), IndexError>>;
    /// Forgets an image; no error if there is none.
    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), IndexError>>;
}

/// The images of this node.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens the store: makes its directories, removes what a killed process left, and takes over `images`, the content
    /// of the index. Images whose layers are gone are forgotten.
    pub async fn open(_config: Config, _images: Vec<Image>, _index: Arc<dyn Index>) -> Result<Store, OpenError> {
        Ok(Store {})
    }

    /// Pulls an image, unless what the reference names now is here already, and tells `progress` on the way. The
    /// credentials are tried longest registry first, then those of the docker config. Concurrent pulls of one image with
    /// the same credentials are one pull; dropping the future cancels it.
    pub async fn pull(
        &self,
        reference: &Reference,
        _credentials: &[Credentials],
        _progress: mpsc::UnboundedSender<Progress>,
    ) -> Result<Arc<Image>, PullError> {
        Err(PullError { reference: reference.to_string() })
    }

    /// Imports every image of an archive: an OCI image layout or what `docker save` writes; plain, gzip or zstd.
    /// `default_reference` names an image that the archive leaves without a name.
    pub async fn import(
        &self,
        _archive: impl AsyncRead + Unpin + Send,
        _default_reference: Option<&str>,
    ) -> Result<Vec<Arc<Image>>, ImportError> {
        Err(ImportError {})
    }

    /// An image by tag, digest, id (with or without `sha256:`) or a unique beginning of an id.
    #[must_use]
    pub fn get(&self, _reference_or_id: &str) -> Option<Arc<Image>> {
        None
    }

    /// All images, by id.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Image>> {
        Vec::new()
    }

    /// Takes a name away and, with the last one, the image and the layers that no other image has. An id takes all
    /// names away. Refused where that would take content that `in_use` claims.
    pub async fn remove(
        &self,
        reference_or_id: &str,
        _in_use: impl Fn(&Image) -> bool + Send,
    ) -> Result<(), RemoveError> {
        Err(RemoveError::NotFound { reference: reference_or_id.to_owned() })
    }

    /// The lower directories of an image for overlayfs, top first; never empty, never twice the same.
    #[must_use]
    pub fn lower_directories(&self, _image: &Image) -> Vec<PathBuf> {
        Vec::new()
    }
}
