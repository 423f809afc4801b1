//! What the tests share: images to serve, a registry that serves them, and a store that wants them.

pub(crate) mod image;
pub(crate) mod registry;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use auraed_image::{
    Config, Credentials, Image, Index, IndexError, LayerState, Progress, PullError, Reference,
    RegistryConfig, Store,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tempfile::TempDir;

/// An index that keeps what it was given as text, as a database would: also for who does not wait for it.
#[derive(Default)]
pub(crate) struct FakeIndex {
    pub(crate) rows: Mutex<BTreeMap<String, String>>,
    /// Answers are late while somebody holds this.
    pub(crate) gate: tokio::sync::Mutex<()>,
}

impl Index for FakeIndex {
    fn put<'a>(&'a self, image: &'a Image) -> BoxFuture<'a, Result<(), IndexError>> {
        let json = serde_json::to_string(image).unwrap();
        self.rows.lock().unwrap().insert(image.id.clone(), json);
        self.answer().boxed()
    }

    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), IndexError>> {
        self.rows.lock().unwrap().remove(id);
        self.answer().boxed()
    }
}

impl FakeIndex {
    async fn answer(&self) -> Result<(), IndexError> {
        drop(self.gate.lock().await);
        Ok(())
    }
}

/// A store in a directory of its own, that can be opened again.
pub(crate) struct Node {
    /// Removed with the value.
    _directory: TempDir,
    pub(crate) config: Config,
    pub(crate) index: Arc<FakeIndex>,
    pub(crate) store: Store,
}

impl Node {
    pub(crate) async fn new(registries: Vec<RegistryConfig>) -> Node {
        Node::with(registries, None).await
    }

    pub(crate) async fn with(registries: Vec<RegistryConfig>, docker_config: Option<PathBuf>) -> Node {
        // The first to come installs it; the others find it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let config = Config {
            registries,
            docker_config,
            ..Config::new(directory.path().join("images"))
        };
        let index = Arc::new(FakeIndex::default());
        let store = Store::open(config.clone(), Vec::new(), index.clone())
            .await
            .unwrap();
        Node {
            _directory: directory,
            config,
            index,
            store,
        }
    }

    /// The daemon starts again on what the last one left.
    pub(crate) async fn reopen(&mut self) {
        let rows: Vec<String> = self.index.rows.lock().unwrap().values().cloned().collect();
        let images = rows
            .iter()
            .map(|json| serde_json::from_str(json).unwrap())
            .collect();
        self.store = Store::open(self.config.clone(), images, self.index.clone())
            .await
            .unwrap();
    }

    pub(crate) async fn pull(&self, reference: &str) -> Result<Arc<Image>, PullError> {
        self.pull_as(reference, &[]).await
    }

    pub(crate) async fn pull_as(
        &self,
        reference: &str,
        credentials: &[Credentials],
    ) -> Result<Arc<Image>, PullError> {
        let (progress, _) = tokio::sync::mpsc::unbounded_channel();
        self.store.pull(&parse(reference), credentials, progress).await
    }

    /// A pull and the last state of each layer, in the image's order.
    pub(crate) async fn pull_states(&self, reference: &str) -> (Arc<Image>, Vec<LayerState>) {
        let (progress, mut steps) = tokio::sync::mpsc::unbounded_channel();
        let image = self.store.pull(&parse(reference), &[], progress).await.unwrap();
        let steps: Vec<Progress> = std::iter::from_fn(|| steps.try_recv().ok()).collect();
        let last = |digest| {
            steps
                .iter()
                .rev()
                .find(|step| step.digest == digest)
                .map(|step| step.state)
        };
        let states = image
            .layers
            .iter()
            .map(|layer| last(layer.digest.clone()).unwrap())
            .collect();
        (image, states)
    }

    /// A file of an image as its topmost layer that has it says.
    pub(crate) fn read(&self, image: &Image, path: &str) -> Option<String> {
        let mut places = self
            .store
            .lower_directories(image)
            .into_iter()
            .map(|directory| directory.join(path));
        places
            .find(|path| path.exists())
            .map(|path| fs_err::read_to_string(path).unwrap())
    }

    pub(crate) fn images(&self) -> &Path {
        &self.config.directory
    }

    pub(crate) fn layers(&self) -> usize {
        let names = fs_err::read_dir(self.images().join("layers")).unwrap();
        names
            .filter(|entry| entry.as_ref().unwrap().file_name() != "empty")
            .count()
    }

    /// The threads of layers clean up behind a pull that failed by another layer.
    pub(crate) async fn assert_ingest_is_empty(&self) {
        let ingest = self.images().join("ingest");
        watch::until(&ingest, "nothing is staged", || {
            fs_err::read_dir(&ingest).unwrap().count() == 0
        })
        .await;
    }
}

pub(crate) fn parse(reference: &str) -> Reference {
    reference.parse().unwrap()
}

pub(crate) fn credentials(registry: &str, username: &str, password: &str) -> Credentials {
    let (registry, username, password) = (registry.to_owned(), username.to_owned(), password.to_owned());
    Credentials {
        registry,
        username,
        password,
        ..Credentials::default()
    }
}

/// An error and all its sources, as a daemon would print them.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
