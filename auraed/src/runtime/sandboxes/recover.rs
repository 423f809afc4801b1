//! What an earlier daemon left: sandboxes that run on, sandboxes that ended meanwhile, and what belongs to nobody.
//!
//! ```text
//!   a row ─► Making ──────────────────► forgotten: nobody was told of it, and what there is of it is nobody's
//!        ├─► Ready, its init answers ─► adopted; its containers are as the init says
//!        ├─► Ready or Ended otherwise ► gives back what it had ([`Shared::settle_all`]); its containers are as recorded
//!        └─► Released ────────────────► listed
//!   files without a row ──────────────► removed
//! ```
//!
//! Run directories, cgroups and interfaces of nobody are removed by who starts after this: the pod engine and the network.

use super::entry::{Container, Entry};
use super::error::SandboxError;
use super::listen::{self, Ending};
use super::record::{ContainerRecord, Phase, SandboxRecord, now};
use super::{Shared, spec};
use crate::descriptor::is_exhaustion;
use crate::files;
use crate::server::chain;
use api::ContainerState;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::{ContainerRun, Events, Sandbox};
use auraed_state::{ContainerRow, SandboxRow};
use futures_util::TryStreamExt as _;
use prost::Message as _;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Sandboxes that are looked at side by side.
const AT_ONCE: usize = 16;

/// A pod init answers at once; one that is stopped, or whose machine is that busy, is given up.
const PATIENCE: Duration = Duration::from_secs(5);

type Adopted = (Sandbox, Events, Vec<ContainerRun>);

impl Shared {
    /// Looks at everything, and removes files that belong to nobody.
    pub(super) async fn recover(self: &Arc<Self>) -> Result<(), SandboxError> {
        let rows = self.node.state.sandboxes().await?;
        let containers = self.node.state.containers().await?;
        let mut entries = Vec::new();
        for row in rows {
            match read(&row) {
                Ok(entry) if entry.phase() == Phase::Making => {
                    self.node.state.remove_sandbox(&row.id).await?;
                }
                Ok(entry) => entries.push(Arc::new(entry)),
                Err(error) => {
                    tracing::error!(sandbox = row.id, %error, "a sandbox cannot be read, and is left as it is");
                    self.node.network.know(&row.id);
                    self.unreadable().insert(row.id);
                }
            }
        }
        let known: HashMap<&str, &Arc<Entry>> = entries.iter().map(|entry| (entry.id(), entry)).collect();
        let mut damaged = HashSet::new();
        for row in containers {
            let Some(entry) = known.get(row.sandbox.as_str()) else {
                continue;
            };
            match read_container(&row) {
                Ok(container) => entry.add(Arc::new(container)),
                Err(error) => {
                    tracing::error!(container = row.id, %error, "a container cannot be read, and its files are left");
                    damaged.insert(row.id);
                }
            }
        }
        futures_util::stream::iter(entries.iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, |entry| self.recover_one(entry))
            .await?;
        let directories = self.node.directories.clone();
        let swept = tokio::task::spawn_blocking({
            let (entries, unreadable) = (entries.clone(), self.unreadable().clone());
            move || sweep(&directories, &entries, &unreadable, &damaged)
        });
        let swept = swept
            .await
            .unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        swept.map_err(|source| SandboxError::Files {
            action: "look through the files of",
            id: "sandboxes".to_owned(),
            source,
        })?;
        self.empty_removed();
        Ok(())
    }

    async fn recover_one(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<(), SandboxError> {
        let adopted = match entry.phase() {
            Phase::Ready => self.adopt(entry.id()).await?,
            _ => None,
        };
        if let Some((sandbox, events, runs)) = adopted {
            let mut addresses = Vec::new();
            if entry.own_network() {
                self.node
                    .network
                    .adopt(entry.id(), spec::ports(&entry.spec), &sandbox);
                addresses = self.node.network.addresses(entry.id()).await;
            }
            entry.set_running(sandbox, addresses);
            self.registry.restore(entry);
            let told: HashSet<String> = runs.iter().map(|run| run.name.clone()).collect();
            for run in runs {
                if let Some(container) = entry.container(&run.name) {
                    self.apply(entry, &container, listen::told(run));
                }
            }
            self.settle_untold(entry, &told).await;
            self.listen(entry, events);
            tracing::info!(sandbox = entry.id(), "a sandbox is here again");
            return Ok(());
        }
        if entry.own_network() && entry.phase() != Phase::Released {
            self.node.network.know(entry.id());
        }
        self.registry.restore(entry);
        if entry.phase() == Phase::Ready {
            entry.set_message("it ended while no daemon ran".to_owned());
            drop(entry.set_phase(&self.node.state, Phase::Ended));
        }
        self.settle_containers(entry, Ending::Unknown).await;
        self.settle_failed_starts(entry).await;
        tracing::info!(sandbox = entry.id(), "a sandbox has ended");
        Ok(())
    }

    /// The kernel ends what an init held; one that does not answer is ended by force. Where this daemon is what something is
    /// missing of, it had better not start than end what runs.
    async fn adopt(&self, id: &str) -> Result<Option<Adopted>, SandboxError> {
        let adopted = match tokio::time::timeout(PATIENCE, Sandbox::adopt(&self.node.host, id)).await {
            Ok(Ok(adopted)) => adopted,
            Ok(Err(error)) if is_exhaustion(&error) => {
                return Err(SandboxError::Sandbox {
                    action: "take over sandbox",
                    id: id.to_owned(),
                    source: Box::new(error),
                });
            }
            Ok(Err(error)) => {
                tracing::error!(
                    sandbox = id,
                    error = chain(&error),
                    "a sandbox's init does not answer"
                );
                None
            }
            Err(_) => {
                tracing::error!(sandbox = id, "a sandbox's init does not answer");
                None
            }
        };
        Ok(adopted)
    }

    /// Containers that were said to run and of which the init does not tell: it knows no more than the newest run of
    /// each name, and each has one.
    async fn settle_untold(&self, entry: &Entry, told: &HashSet<String>) {
        for container in entry.containers() {
            if container.state() == ContainerState::Running && !told.contains(container.id()) {
                let change = match self.recorded(entry, &container).await {
                    Some(run) => listen::exited(run),
                    None => listen::lost(Ending::Unknown),
                };
                self.apply(entry, &container, change);
            }
        }
    }

    /// Containers that ran although their start was not written down any more: their init recorded their end.
    async fn settle_failed_starts(&self, entry: &Entry) {
        for container in entry.containers() {
            if container.state() == ContainerState::Created
                && let Some(run) = self.recorded(entry, &container).await
            {
                self.apply(entry, &container, listen::exited(run));
            }
        }
    }

    /// Lets sandboxes that have ended give back what they had.
    pub(super) fn settle_all(self: &Arc<Self>) {
        for entry in self.registry.sandboxes() {
            if entry.phase() != Phase::Ended {
                continue;
            }
            let (shared, stop) = (Arc::clone(self), self.stop.clone());
            let settling = async move {
                let _turn = entry.turn.write().await;
                if let Err(error) = shared.end(&entry).await {
                    tracing::warn!(
                        sandbox = entry.id(),
                        error = chain(&error),
                        "what a sandbox had is not given back yet"
                    );
                }
            };
            self.tasks
                .spawn(async move { stop.run_until_cancelled(settling).await });
        }
    }

    fn empty_removed(&self) {
        let removed = self.node.directories.removed();
        self.tasks.spawn_blocking(move || {
            if let Err(error) = files::empty(&removed, |_| false) {
                tracing::warn!(%error, "files of what was removed are left");
            }
        });
    }
}

fn read(row: &SandboxRow) -> Result<Entry, prost::DecodeError> {
    let spec = api::SandboxSpec::decode(row.spec.as_slice())?;
    Ok(Entry::new(spec, SandboxRecord::decode(row.record.as_slice())?))
}

fn read_container(row: &ContainerRow) -> Result<Container, prost::DecodeError> {
    let spec = api::ContainerSpec::decode(row.spec.as_slice())?;
    Ok(Container::new(
        spec,
        ContainerRecord::decode(row.record.as_slice())?,
    ))
}

/// Moves away files of sandboxes and containers that nobody knows. What cannot be moved is left.
fn sweep(
    directories: &super::Directories,
    entries: &[Arc<Entry>],
    unreadable: &HashSet<String>,
    damaged: &HashSet<String>,
) -> io::Result<()> {
    let removed = directories.removed();
    files::make_private(&removed)?;
    let mut count = 0;
    let mut discard = |path: &Path| {
        count += 1;
        let moved = fs_err::rename(path, removed.join(format!("{}-{count}-start", now())));
        if let Err(error) = moved {
            tracing::warn!(%error, "what belongs to nobody is left");
        }
    };
    let known = entries.iter().map(|entry| entry.id());
    let known: HashSet<&str> = known.chain(unreadable.iter().map(String::as_str)).collect();
    for path in list(&directories.all())? {
        if path != removed && !name(&path).is_some_and(|name| known.contains(name)) {
            discard(&path);
        }
    }
    for entry in entries {
        let containers = entry.containers();
        let known = containers.iter().map(|container| container.id());
        let known: HashSet<&str> = known.chain(damaged.iter().map(String::as_str)).collect();
        for path in list(&directories.sandbox(entry.id()).join("containers"))? {
            if !name(&path).is_some_and(|name| known.contains(name)) {
                discard(&path);
            }
        }
        let specs = directories.specs(entry.id());
        let known = |file: &OsStr| {
            let id = file.to_str().and_then(|name| name.strip_suffix(".pb"));
            id.is_some_and(|id| known.contains(id))
        };
        match files::empty(&specs, known) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn list(directory: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    match fs_err::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_nobody_are_moved_away_and_nobody_elses() {
        let root = tempfile::tempdir().unwrap();
        let directories = super::super::Directories {
            state: root.path().join("state"),
            run: root.path().join("run"),
        };
        let spec = api::SandboxSpec {
            id: "pod".to_owned(),
            ..api::SandboxSpec::default()
        };
        let entry = Arc::new(Entry::new(spec, SandboxRecord::default()));
        let spec = api::ContainerSpec {
            id: "known".to_owned(),
            ..api::ContainerSpec::default()
        };
        entry.add(Arc::new(Container::new(spec, ContainerRecord::default())));
        let files = ["known", "damaged", "nobody"].map(|id| directories.container("pod", id).upper());
        let lost = directories.container("lost", "one").upper();
        let unreadable = directories.container("unreadable", "one").upper();
        for path in files.iter().chain([&lost, &unreadable]) {
            fs_err::create_dir_all(path).unwrap();
        }
        fs_err::write(directories.all().join("file"), "").unwrap();
        fs_err::create_dir_all(directories.specs("pod")).unwrap();
        for id in ["known", "damaged", "nobody"] {
            fs_err::write(directories.spec("pod", id), "").unwrap();
        }
        let one = |id: &str| HashSet::from([id.to_owned()]);
        sweep(&directories, &[entry], &one("unreadable"), &one("damaged")).unwrap();
        assert_eq!(files.map(|path| path.exists()), [true, true, false]);
        assert_eq!((lost.exists(), unreadable.exists()), (false, true));
        let kept = ["known", "damaged", "nobody"].map(|id| directories.spec("pod", id).exists());
        assert_eq!(kept, [true, true, false]);
        assert_eq!(list(&directories.removed()).unwrap().len(), 3);
    }
}
