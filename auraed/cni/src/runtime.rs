//! Runs the plugins of a network in the order that the specification wants (its section 3), and keeps what must not be
//! forgotten.
//!
//! ```text
//!  add:     record without result ─► ADD, first to last ─► record with result        failed: DEL, record removed
//!  delete:  DEL, last to first, with the configuration and the result of the record ─► record removed
//!  collect: delete what is not valid any more ─► GC with what is valid
//! ```
//!
//! One attachment has one call at a time; GC has none beside it. A call that is dropped kills its plugin and leaves
//! the record, as a killed daemon does.

mod chain;
mod versions;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::RwLock;
use tokio::time::Instant;

use crate::attachment::check_key;
use crate::config::Occasion;
use crate::locks::Locks;
use crate::plugin::{Call, Programs};
use crate::record::Record;
use crate::store::Store;
use crate::{Added, Attachment, Error, NetworkConfig, Verb};

use chain::request;
use versions::Spoken;

/// How long a plugin may think about its version or its status.
const SHORT: Duration = Duration::from_secs(10);

/// Stale attachments that are deleted side by side.
const AT_ONCE: usize = 8;

/// What plugins run with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where plugins are looked for, in this order.
    pub plugins: Vec<PathBuf>,
    /// Where records are kept; made if missing.
    pub records: PathBuf,
    /// How long all plugins of one network may take together for one attachment.
    pub patience: Duration,
    /// What plugins get beside the daemon's environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// Runs plugins. Clones are one.
#[derive(Clone, Debug)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    programs: Programs,
    store: Store,
    patience: Duration,
    turns: Locks,
    /// Read by everything that is about one attachment, written for GC.
    gate: RwLock<()>,
    spoken: Spoken,
}

impl Runtime {
    /// Opens the records.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn open(settings: Settings) -> Result<Runtime, Error> {
        let inner = Inner {
            programs: Programs {
                directories: settings.plugins,
                environment: settings.environment,
            },
            store: Store::open(settings.records)?,
            patience: settings.patience,
            turns: Locks::default(),
            gate: RwLock::default(),
            spoken: Spoken::default(),
        };
        Ok(Runtime {
            inner: Arc::new(inner),
        })
    }

    /// Attaches a container to a network. What an earlier call for the same container and interface made is taken away
    /// first.
    ///
    /// # Errors
    /// [`Error`]; what was made is taken away again then, or stays on record for [`Runtime::delete`].
    pub async fn add(&self, config: &NetworkConfig, attachment: &Attachment) -> Result<Added, Error> {
        attachment.check()?;
        let _gate = self.inner.gate.read().await;
        let _turn = self.inner.turn(&attachment.id).await;
        self.inner
            .delete(&attachment.id, &attachment.interface, None)
            .await?;
        let mut record = Record {
            version: self.inner.version(config).await,
            config: config.clone(),
            attachment: attachment.clone(),
            added: None,
        };
        self.inner.put(&record).await?;
        match self.inner.add(&record).await {
            Ok(added) => {
                record.added = Some(added.clone());
                match self.inner.put(&record).await {
                    Ok(()) => Ok(added),
                    Err(error) => {
                        self.inner.undo(&record).await;
                        Err(error)
                    }
                }
            }
            Err(error) => {
                self.inner.undo(&record).await;
                Err(error)
            }
        }
    }

    /// Asks the plugins whether an attachment is as it was made. Succeeds where they cannot say, or must not be asked.
    ///
    /// # Errors
    /// What the first of them finds wrong.
    pub async fn check(&self, id: &str, interface: &str, namespace: &str) -> Result<(), Error> {
        check_key(id, interface)?;
        let _gate = self.inner.gate.read().await;
        let _turn = self.inner.turn(id).await;
        let Some(record) = self.inner.get(id, interface).await? else {
            return Ok(());
        };
        if record.config.disable_check() || !record.version.has_check() {
            return Ok(());
        }
        let plugins = record.config.plugins().iter().collect();
        self.inner
            .again(&record, Verb::Check, plugins, Some(namespace))
            .await
    }

    /// Detaches a container. `namespace` leads to its network namespace; none if that is gone. `false`: it was not
    /// attached, as far as the records go.
    ///
    /// # Errors
    /// [`Error`] of the plugin that failed; the record stays, and it is to be tried again.
    pub async fn delete(&self, id: &str, interface: &str, namespace: Option<&str>) -> Result<bool, Error> {
        check_key(id, interface)?;
        let _gate = self.inner.gate.read().await;
        let _turn = self.inner.turn(id).await;
        self.inner.delete(id, interface, namespace).await
    }

    /// What was added, if the container is attached.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub async fn added(&self, id: &str, interface: &str) -> Result<Option<Added>, Error> {
        check_key(id, interface)?;
        Ok(self
            .inner
            .get(id, interface)
            .await?
            .and_then(|record| record.added))
    }

    /// Whether there is anything on record of a container: also an ADD that was interrupted.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub async fn knows(&self, id: &str, interface: &str) -> Result<bool, Error> {
        check_key(id, interface)?;
        Ok(self.inner.get(id, interface).await?.is_some())
    }

    /// Detaches everything on record whose container does not live, and every one whose ADD was interrupted; then has the
    /// plugins of `config` collect what they know of others, while nothing else is under way.
    ///
    /// # Errors
    /// All that failed; the rest was done.
    pub async fn collect(
        &self,
        config: Option<&NetworkConfig>,
        lives: impl Fn(&str) -> bool + Sync,
    ) -> Vec<Error> {
        let valid = |record: &Record| record.added.is_some() && lives(&record.attachment.id);
        let records = match self.inner.all().await {
            Ok(records) => records,
            Err(error) => return vec![error],
        };
        let stale = records.into_iter().filter(|record| !valid(record));
        let deleted = futures_util::stream::iter(stale)
            .map(|record| self.delete_unless(record.attachment, &valid))
            .buffer_unordered(AT_ONCE);
        let mut errors: Vec<Error> = deleted
            .filter_map(|deleted| std::future::ready(deleted.err()))
            .collect()
            .await;
        if let Some(config) = config {
            let _gate = self.inner.gate.write().await;
            match self.inner.all().await {
                Ok(mut records) => {
                    records.retain(&valid);
                    errors.extend(self.inner.collect(config, &records).await);
                }
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    /// Looks once more when it is this attachment's turn: it may have been added anew meanwhile.
    async fn delete_unless(
        &self,
        attachment: Attachment,
        valid: &(impl Fn(&Record) -> bool + Sync),
    ) -> Result<(), Error> {
        let Attachment { id, interface, .. } = attachment;
        let _gate = self.inner.gate.read().await;
        let _turn = self.inner.turn(&id).await;
        let Some(record) = self.inner.get(&id, &interface).await? else {
            return Ok(());
        };
        if valid(&record) {
            return Ok(());
        }
        tracing::info!(
            id,
            network = record.config.name(),
            "a network of nobody is taken down"
        );
        self.inner.delete(&id, &interface, None).await.map(drop)
    }

    /// Whether the network's plugins are there and, where they can say so, ready for ADD.
    ///
    /// # Errors
    /// What the first of them says.
    pub async fn status(&self, config: &NetworkConfig) -> Result<(), Error> {
        for plugin in config.plugins() {
            self.inner.programs.find(plugin.kind())?;
        }
        let version = self.inner.version(config).await;
        if !version.has_status() {
            return Ok(());
        }
        let deadline = Instant::now() + SHORT;
        for plugin in config.plugins() {
            let input = request(config, plugin, version, &Occasion::Status)?;
            self.inner
                .programs
                .call(Call {
                    plugin: plugin.kind(),
                    verb: Verb::Status,
                    attachment: None,
                    input: &input,
                    deadline,
                    mark: None,
                })
                .await?;
        }
        Ok(())
    }
}

impl Inner {
    async fn turn(&self, id: &str) -> impl Drop + use<> {
        self.turns.turn(id).await
    }

    async fn get(&self, id: &str, interface: &str) -> Result<Option<Record>, Error> {
        if !self.store.may_have(id, interface) {
            return Ok(None);
        }
        let (store, id, interface) = (self.store.clone(), id.to_owned(), interface.to_owned());
        blocking(move || store.get(&id, &interface)).await
    }

    async fn all(&self) -> Result<Vec<Record>, Error> {
        let store = self.store.clone();
        blocking(move || store.all()).await
    }

    async fn put(&self, record: &Record) -> Result<(), Error> {
        let (store, record) = (self.store.clone(), record.clone());
        blocking(move || store.put(&record)).await
    }
}

/// Work on files, on a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::Record {
            action: "get at",
            path: PathBuf::new(),
            source: std::io::Error::other(error),
        }),
    }
}
