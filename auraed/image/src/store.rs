//! The store: the images of this node. A cheap handle; all clones are one store.
//!
//! `pull` and `import` bring content and end in `assemble`, which sees to each layer once, whoever wants it, and then
//! commits: index first, catalog second, one change at a time. `shared` makes one pull of several for the same image.
//! The catalog's lock is held for moments only; what takes time is done under a lock of its own, and what must not stop
//! half way in a task of its own, whoever asked for it and went away.

mod assemble;
mod fetch;
mod import;
mod locks;
mod open;
mod pull;
mod remove;
mod shared;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::io::AsyncRead;
use tokio::sync::{Semaphore, mpsc};

use crate::catalog::{Catalog, NewName};
use crate::error::Failure;
use crate::layers::{Layers, Pin};
use crate::partial::Partials;
use crate::progress::Hub;
use crate::registry::Registries;
use crate::{
    Config, Credentials, Image, ImportError, OpenError, Progress, PullError, Reference, RemoveError, Usage,
};

use locks::Locks;
use shared::Pulls;

pub use remove::{Removed, WhileUsed};

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
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    registries: Registries,
    docker_config: Option<PathBuf>,
    layers: Layers,
    partials: Partials,
    index: Arc<dyn Index>,
    catalog: Mutex<Catalog>,
    /// Whoever changes the catalog, with its index.
    turn: Arc<tokio::sync::Mutex<()>>,
    pulls: Pulls,
    /// By the names of layers, so that each is fetched once.
    fetching: Locks,
    slots: Semaphore,
    parallel_layers: usize,
}

impl Store {
    /// Opens the store: makes its directories, removes what a killed process left, and takes over `images`, the content
    /// of the index. Images whose layers are gone are forgotten, in the index too.
    pub async fn open(config: Config, images: Vec<Image>, index: Arc<dyn Index>) -> Result<Store, OpenError> {
        let inner = Arc::new(open::open(config, images, index).await?);
        // What an earlier daemon unpacked and did not come to sync.
        inner.sync_behind();
        Ok(Store { inner })
    }

    /// Pulls an image, unless what the reference names now is here already, and tells `progress` on the way. The
    /// credentials are tried longest registry first, then those of the docker config. Concurrent pulls of one image with
    /// the same credentials are one pull; when all who wait for it are dropped, it is cancelled.
    pub async fn pull(
        &self,
        reference: &Reference,
        credentials: &[Credentials],
        progress: mpsc::UnboundedSender<Progress>,
    ) -> Result<Arc<Image>, PullError> {
        let begin =
            |hub: Arc<Hub>| pull::pull(self.inner.clone(), reference.clone(), credentials.to_vec(), hub);
        self.inner
            .pulls
            .join(reference, credentials, progress, begin)
            .await
    }

    /// Imports every image of an archive: an OCI image layout or what `docker save` writes; plain, gzip or zstd. Its
    /// blobs are kept beside the layers until they are unpacked, which takes that much more room. `default_reference`
    /// names the image of an archive that leaves it without a name; else such an image has its id alone.
    pub async fn import(
        &self,
        archive: impl AsyncRead + Unpin + Send,
        default_reference: Option<&str>,
    ) -> Result<Vec<Arc<Image>>, ImportError> {
        Ok(import::import(&self.inner, archive, default_reference).await?)
    }

    /// An image by tag, digest, id (with or without `sha256:`) or the unique beginning of an id, at least 4 digits.
    #[must_use]
    pub fn get(&self, reference_or_id: &str) -> Option<Arc<Image>> {
        self.inner.catalog().get(reference_or_id)
    }

    /// All images, by id.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.inner.catalog().list()
    }

    /// An image by its whole id, for who uses it already: also one that was removed meanwhile.
    #[must_use]
    pub fn used(&self, id: &str) -> Option<Arc<Image>> {
        self.inner.catalog().used(id)
    }

    /// Takes a name away and, with the last one, the image and the layers that no other image has. An id takes all
    /// names away; the last tag of a repository takes the digests there along. What `in_use` claims stays or is not
    /// removed at all, as `while_used` says.
    pub async fn remove(
        &self,
        reference_or_id: &str,
        while_used: WhileUsed,
        in_use: impl Fn(&Image) -> bool + Send,
    ) -> Result<Removed, RemoveError> {
        remove::remove(&self.inner, reference_or_id, while_used, in_use).await
    }

    /// Removes the images that stayed when they were removed and that `in_use` does not claim any more. Answers how
    /// many are left: while there are any, call it again when a container is gone.
    pub async fn sweep(&self, in_use: impl Fn(&Image) -> bool + Send) -> Result<usize, RemoveError> {
        remove::sweep(&self.inner, in_use).await
    }

    /// What the images take on the disk: each layer once, and what is kept of interrupted pulls. Cheap: nothing is
    /// looked at.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.inner.layers.usage() + self.inner.partials.usage()
    }

    /// The directory that holds everything.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// The lower directories of an image for overlayfs, top first; never empty, never twice the same.
    #[must_use]
    pub fn lower_directories(&self, image: &Image) -> Vec<PathBuf> {
        image
            .stack
            .iter()
            .map(|name| self.inner.layers.root(name))
            .collect()
    }
}

impl Inner {
    /// A change of a map is never half done when something panics.
    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an image, or names to one that is here: on the disk first. `pin` keeps its directories until it is there.
    async fn commit(
        self: &Arc<Self>,
        image: Image,
        names: Vec<NewName>,
        pin: Pin,
    ) -> Result<Arc<Image>, Failure> {
        let inner = Arc::clone(self);
        let committed = tokio::spawn(async move {
            let _pin = pin;
            let _turn = inner.turn.lock().await;
            let mut next = inner.catalog().clone();
            let (image, change) = next.add(image, &names);
            for image in &change.put {
                let put = inner.index.put(image).await;
                put.map_err(|source| Failure::Index {
                    id: image.id.clone(),
                    source,
                })?;
            }
            *inner.catalog() = next;
            Ok(image)
        });
        committed.await.map_err(|_| Failure::Stopped)?
    }

    /// An image whose directories are all here and stay, also one that was removed while containers used it.
    fn whole(&self, id: &str) -> Option<(Arc<Image>, Pin)> {
        let image = self.catalog().used(id)?;
        // They are looked for when nobody takes them away any more.
        let pin = self.layers.pin(image.stack.clone());
        let whole = image.stack.iter().all(|name| self.layers.exists(name));
        whole.then_some((image, pin))
    }

    /// What was unpacked may be used at once; that it survives a crash of the machine may take the disk a while.
    fn sync_behind(&self) {
        let layers = self.layers.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = layers.sync() {
                tracing::warn!(%error, "cannot sync layers; after a crash of the machine they are fetched again");
            }
        });
    }

    /// Removes what no image and no pull needs any more. What cannot be removed now is tried again later.
    async fn collect(self: &Arc<Self>) {
        let inner = self.clone();
        let collected =
            tokio::task::spawn_blocking(move || inner.layers.collect(|| inner.catalog().directories()));
        if let Ok(Err(error)) = collected.await {
            tracing::warn!(%error, "cannot remove layers that no image has");
        }
    }
}
