//! The way to the API server: who we are to it, connections, and whether it is there.
//!
//! One [`Cluster`] for the whole program, cheap to clone. It owns a task that watches the kubeconfig and the files that
//! it names: when one changes, new connections are made and everybody who watches is told ([`Cluster::changed`]). A
//! kubeconfig that went wrong is reported and the old one kept.
//!
//! ```text
//! kubeconfig ─inotify─► reload task ─► Connections ─┬─ requests: one HTTP/2 connection
//!                                                   └─ watches: as many as their streams need
//! ```
//!
//! Calls are made through [`Cluster::call`], which bounds them in time and keeps book of whether the server answers, so
//! that its absence is told once and its return too.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use tokio::sync::watch;

mod connect;
mod error;
mod health;
mod kubeconfig;

pub use connect::WatchClient;
pub use error::{CallError, ClusterError};

use connect::Connections;
use health::Health;
use kubeconfig::Loaded;

use crate::chain::sources;
use crate::files::Changes;

/// How long a short request may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The API server, and who we are to it.
#[derive(Clone, Debug)]
pub struct Cluster {
    connections: watch::Receiver<Arc<Connections>>,
    health: Arc<Health>,
}

impl Cluster {
    /// Reads the kubeconfig and prepares connections; none is opened yet. `node` is the name that a node's certificate
    /// must bear.
    ///
    /// # Errors
    /// Where the file or one that it names is unreadable or wrong, or the certificate is another node's.
    pub async fn load(path: &Path, node: &str) -> Result<Cluster, ClusterError> {
        let (loaded, connections) = prepare(path, node).await?;
        let fingerprint = kubeconfig::fingerprint(&loaded.files);
        tracing::info!(server = %loaded.config.cluster_url, "cluster");
        let health = Arc::new(Health::new(loaded.config.cluster_url.to_string()));
        let (sender, receiver) = watch::channel(connections);
        tokio::spawn(reload(
            path.to_owned(),
            node.to_owned(),
            loaded.files,
            fingerprint,
            sender,
        ));
        Ok(Cluster {
            connections: receiver,
            health,
        })
    }

    /// Objects of one namespace, for short requests.
    pub fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), namespace)
    }

    /// Objects of the whole cluster, for short requests.
    pub fn all<K: Resource>(&self) -> Api<K>
    where
        K::DynamicType: Default,
    {
        Api::all(self.client())
    }

    /// For short requests.
    pub fn client(&self) -> kube::Client {
        self.connections.borrow().requests.clone()
    }

    /// For one stream that stays open; keep it as long as the stream.
    pub fn watch_client(&self) -> WatchClient {
        let connections = Arc::clone(&self.connections.borrow());
        connections.watch_client()
    }

    /// Waits for a call's answer, not longer than 20 s, and notes whether the server is there.
    ///
    /// # Errors
    /// [`CallError::Timeout`], or what the server or the connection said.
    pub async fn call<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        match tokio::time::timeout(CALL_TIMEOUT, request).await {
            Ok(Ok(answer)) => {
                self.health.answered();
                Ok(answer)
            }
            Ok(Err(error)) => {
                let error = CallError::from(error);
                self.note(&error);
                Err(error)
            }
            Err(_) => {
                self.note(&CallError::Timeout);
                Err(CallError::Timeout)
            }
        }
    }

    /// Keeps book of an error from a stream or a call.
    pub fn note(&self, error: &CallError) {
        if error.is_answer() {
            self.health.answered()
        } else {
            self.health.failed(error)
        }
    }

    /// Keeps book of a stream that speaks.
    pub fn answered(&self) {
        self.health.answered();
    }

    /// Tells when there are new credentials: streams must be opened anew then.
    pub fn changed(&self) -> Changed {
        let mut connections = self.connections.clone();
        connections.mark_unchanged();
        Changed(connections)
    }
}

/// Waits for new credentials.
#[derive(Debug)]
pub struct Changed(watch::Receiver<Arc<Connections>>);

impl Changed {
    /// Returns when there are new ones; may be called again.
    pub async fn wait(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Reads the kubeconfig and prepares connections with it.
async fn prepare(path: &Path, node: &str) -> Result<(Loaded, Arc<Connections>), ClusterError> {
    let loaded = kubeconfig::load(path).await?;
    kubeconfig::check_name(path, &loaded, node)?;
    let connections = Connections::new(path, &loaded.config)?;
    Ok((loaded, Arc::new(connections)))
}

/// Makes new connections whenever a file of the kubeconfig changes. Ends with the last [`Cluster`].
async fn reload(
    path: PathBuf,
    node: String,
    mut files: Vec<PathBuf>,
    mut fingerprint: u64,
    sender: watch::Sender<Arc<Connections>>,
) {
    loop {
        let mut changes = match Changes::of_files(&files) {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!("changes of the kubeconfig will not be seen: {}", sources(&error));
                return;
            }
        };
        // Compared before the first wait: what changed until now was not told.
        while kubeconfig::fingerprint(&files) == fingerprint {
            tokio::select! {
                () = changes.next() => {}
                () = sender.closed() => return,
            }
        }
        fingerprint = kubeconfig::fingerprint(&files);
        match prepare(&path, &node).await {
            Ok((loaded, connections)) => {
                tracing::info!(server = %loaded.config.cluster_url, "kubeconfig changed, connecting anew");
                files = loaded.files;
                fingerprint = kubeconfig::fingerprint(&files);
                sender.send_replace(connections);
            }
            Err(error) => {
                tracing::warn!("the changed kubeconfig is not used: {}", sources(&error));
            }
        }
    }
}
