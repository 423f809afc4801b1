//! The end of a sandbox, asked for or not, and its removal.
//!
//! ```text
//!  Ready ──(processes, cgroup)──► Ended ──(network, memory)──► Released ──(row, files)──► nothing
//! ```
//!
//! Each step may be repeated, and is taken by whoever comes: a call, the listener that heard of the pod init's death, or
//! the next daemon.

use super::entry::{Container, Entry};
use super::error::SandboxError;
use super::listen::{self, Ending};
use super::record::{Phase, now};
use super::{Sandboxes, Shared};
use crate::files;
use crate::server::chain;
use api::{ContainerState, RuntimeEventKind};
use auraed_api::runtime::v0 as api;
use auraed_sandbox::{end_sandbox, read_exit_record};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

impl Sandboxes {
    /// Ends a sandbox with all that runs in it, and gives its network back. Succeeds if there is none.
    ///
    /// # Errors
    /// What does not go away; the next call tries it again.
    pub(crate) async fn stop(&self, id: &str) -> Result<(), SandboxError> {
        let Some(entry) = self.find(id)? else {
            return Ok(());
        };
        let shared = Arc::clone(&self.shared);
        self.finish(async move {
            entry.life.cancel();
            let _turn = entry.turn.write().await;
            shared.end(&entry).await
        })
        .await
    }

    /// Ends a sandbox if it runs, and forgets it and its containers. Succeeds if there is none.
    ///
    /// # Errors
    /// As [`Sandboxes::stop`].
    pub(crate) async fn remove(&self, id: &str) -> Result<(), SandboxError> {
        let Some(entry) = self.find(id)? else {
            return Ok(());
        };
        let shared = Arc::clone(&self.shared);
        self.finish(async move {
            entry.life.cancel();
            let _turn = entry.turn.write().await;
            shared.end(&entry).await?;
            shared.forget(&entry).await
        })
        .await
    }

    fn find(&self, id: &str) -> Result<Option<Arc<Entry>>, SandboxError> {
        match self.shared.registry.sandbox(id) {
            Ok(entry) => Ok(Some(entry)),
            Err(SandboxError::NoSandbox { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes every sandbox: for `auraed cleanup`.
    pub(crate) async fn remove_all(&self) -> Vec<SandboxError> {
        let entries = self.shared.registry.sandboxes();
        let removals = entries.iter().map(|entry| self.remove(entry.id()));
        let removed = futures_util::future::join_all(removals).await;
        removed.into_iter().filter_map(Result::err).collect()
    }
}

impl Shared {
    /// Goes on to [`Phase::Released`]. The caller has the sandbox's turn.
    pub(super) async fn end(&self, entry: &Entry) -> Result<(), SandboxError> {
        if entry.is_gone() || entry.phase() == Phase::Released {
            return Ok(());
        }
        // Plugins take their part of it out of the namespace, so it is held until they have.
        let sandbox = entry.sandbox().ok().filter(|_| entry.own_network());
        let namespace = sandbox.and_then(|sandbox| sandbox.network_namespace().ok());
        if entry.phase() == Phase::Ready {
            self.end_processes(entry).await?;
            for container in entry.containers() {
                // It is not started any more.
                drop(container.take_root().await);
            }
            self.settle_containers(entry, Ending::Killed).await;
            // The step is taken again by the next daemon, if this is lost.
            drop(entry.set_phase(&self.node.state, Phase::Ended));
            self.tell(RuntimeEventKind::Stopped, entry, "");
        } else {
            // What an earlier daemon could not end.
            self.end_processes(entry).await?;
        }
        let id = entry.id();
        if entry.own_network() {
            self.node
                .network
                .detach(id, namespace.as_ref().map(AsFd::as_fd))
                .await
                .map_err(|source| SandboxError::Network {
                    action: "give back",
                    id: id.to_owned(),
                    source: Box::new(source),
                })?;
        }
        self.remove_memory(id)
            .await
            .map_err(|source| SandboxError::Files {
                action: "remove the files of sandbox",
                id: id.to_owned(),
                source,
            })?;
        entry.set_phase(&self.node.state, Phase::Released).await?;
        Ok(())
    }

    async fn end_processes(&self, entry: &Entry) -> Result<(), SandboxError> {
        if let Some(sandbox) = entry.take_sandbox() {
            match sandbox.destroy().await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(
                    sandbox = entry.id(),
                    error = chain(&error),
                    "a sandbox does not end"
                ),
            }
        }
        // By force, or what is left of one whose pod init is gone.
        end_sandbox(&self.node.host, entry.id())
            .await
            .map_err(|source| SandboxError::Sandbox {
                action: "end sandbox",
                id: entry.id().to_owned(),
                source: Box::new(source),
            })
    }

    /// Says of each container that ran how it ended, by what the pod init recorded.
    pub(super) async fn settle_containers(&self, entry: &Entry, ending: Ending) {
        for container in entry.containers() {
            if container.state() == ContainerState::Running {
                let run = self.recorded(entry, &container).await;
                let change = match run {
                    Some(run) => listen::exited(run),
                    None => listen::lost(ending),
                };
                self.apply(entry, &container, change);
            }
        }
    }

    /// What the pod init recorded of a container's end.
    pub(super) async fn recorded(
        &self,
        entry: &Entry,
        container: &Container,
    ) -> Option<auraed_sandbox::ContainerRun> {
        let place = self.node.directories.container(entry.id(), container.id());
        let path = place.exit_record();
        let read = tokio::task::spawn_blocking(move || read_exit_record(&path)).await;
        match read {
            Ok(Ok(run)) => run,
            Ok(Err(error)) => {
                tracing::warn!(container = container.id(), %error, "an exit record cannot be read");
                None
            }
            Err(_) => None,
        }
    }

    /// From now on nobody knows it. What a crash leaves of its files is nobody's, and goes with the next start.
    async fn forget(&self, entry: &Entry) -> Result<(), SandboxError> {
        if entry.is_gone() {
            return Ok(());
        }
        self.node.state.remove_sandbox(entry.id()).await?;
        // Before the id is free: another sandbox of it has files of its own.
        self.discard(self.node.directories.sandbox(entry.id())).await;
        let containers = entry.containers();
        self.registry.forget_sandbox(entry);
        for container in containers {
            entry.forget(container.id());
            self.tell(RuntimeEventKind::Removed, entry, container.id());
        }
        self.tell(RuntimeEventKind::Removed, entry, "");
        Ok(())
    }

    pub(super) async fn remove_memory(&self, id: &str) -> io::Result<()> {
        let memory = self.node.directories.memory(id);
        let removed = tokio::task::spawn_blocking(move || files::remove_tree(&memory)).await;
        removed.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
    }

    /// Puts a directory out of the way, so that its path is free, and removes it in its own time: a container may have
    /// written a lot. What is left is removed by the next daemon.
    pub(super) async fn discard(&self, path: PathBuf) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let target = self
            .node
            .directories
            .removed()
            .join(format!("{}-{number}", now()));
        let moving = {
            let target = target.clone();
            tokio::task::spawn_blocking(move || fs_err::rename(path, target))
        };
        match moving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return,
            Ok(Err(error)) => return tracing::warn!(%error, "files of what was removed are left"),
            Err(_) => return,
        }
        self.tasks.spawn_blocking(move || {
            if let Err(error) = files::remove_tree(&target) {
                tracing::warn!(%error, "files of what was removed are left");
            }
        });
    }
}
