//! Changes of what runs: limits, and logs that begin anew.

use super::error::SandboxError;
use super::registry::InSandbox;
use super::{Sandboxes, check, spec};
use api::ContainerState;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::Error;
use std::sync::Arc;

impl Sandboxes {
    /// Changes the limits of a sandbox's cgroup; absent ones stay.
    ///
    /// # Errors
    /// [`SandboxError::Invalid`], [`SandboxError::NoSandbox`], [`SandboxError::NotReady`], or what the kernel does not
    /// take: then limits may be changed in part.
    pub(crate) async fn update(
        &self,
        id: &str,
        resources: Option<api::LinuxResources>,
    ) -> Result<(), SandboxError> {
        check::update(resources.as_ref())?;
        let resources = resources.unwrap_or_default();
        let entry = self.shared.registry.sandbox(id)?;
        let shared = Arc::clone(&self.shared);
        self.finish(async move {
            // Alone: two of them would be merged with the same old ones.
            let _turn = entry.turn.write().await;
            let failed = |source| SandboxError::Sandbox {
                action: "change the limits of sandbox",
                id: entry.id().to_owned(),
                source: Box::new(source),
            };
            let sandbox = entry.sandbox()?;
            let group = sandbox.cgroup().cloned().ok_or_else(|| failed(Error::Gone))?;
            let limits = spec::limits(&resources);
            let set = tokio::task::spawn_blocking(move || group.set(&limits)).await;
            let set = set.map_err(|_| failed(Error::Gone))?;
            set.map_err(|source| {
                failed(Error::Cgroup {
                    step: "change the limits",
                    id: entry.id().to_owned(),
                    source,
                })
            })?;
            let old = entry.record().resources.or_else(|| entry.spec.resources.clone());
            let merged = spec::merged(&old.unwrap_or_default(), &resources);
            entry.set_resources(&shared.node.state, merged).await?;
            Ok(())
        })
        .await
    }

    /// Changes the limits of a container; absent ones stay, and so does `oom_score_adj` of one that runs.
    ///
    /// # Errors
    /// [`SandboxError::Invalid`], [`SandboxError::NoContainer`], [`SandboxError::State`] for one that has ended, or what
    /// the kernel does not take: then limits may be changed in part.
    pub(crate) async fn update_container(
        &self,
        id: &str,
        resources: Option<api::LinuxResources>,
    ) -> Result<(), SandboxError> {
        check::update(resources.as_ref())?;
        let resources = resources.unwrap_or_default();
        let InSandbox { entry, container } = self.shared.registry.container(id)?;
        let shared = Arc::clone(&self.shared);
        self.finish(async move {
            let _shared_turn = entry.turn.read().await;
            let _turn = container.turn.lock().await;
            let mut wanted = resources;
            if container.state() == ContainerState::Created {
                let merged = spec::merged(&container.resources(), &wanted);
                // There is no kernel yet that would refuse what contradicts what was there.
                check::update(Some(&merged))?;
            } else {
                container.expect(ContainerState::Running)?;
                // Its program got it at its start, and what that started has its own.
                wanted.oom_score_adj = None;
                let sandbox = entry.sandbox()?;
                let limits = spec::limits(&wanted);
                sandbox
                    .update(container.id(), &limits)
                    .await
                    .map_err(|source| SandboxError::Sandbox {
                        action: "change the limits of container",
                        id: container.id().to_owned(),
                        source: Box::new(source),
                    })?;
            }
            let merged = spec::merged(&container.resources(), &wanted);
            shared
                .record(&container, |live| {
                    live.record.resources = Some(merged);
                    true
                })
                .await?;
            Ok(())
        })
        .await
    }

    /// Begins the log file of a running container anew.
    ///
    /// # Errors
    /// [`SandboxError::NoContainer`], [`SandboxError::State`], [`SandboxError::NotReady`], or why the file cannot be
    /// made.
    pub(crate) async fn reopen_log(&self, id: &str) -> Result<(), SandboxError> {
        let InSandbox { entry, container } = self.shared.registry.container(id)?;
        container.expect(ContainerState::Running)?;
        let sandbox = entry.sandbox()?;
        self.finish(async move {
            sandbox
                .reopen_log(container.id())
                .await
                .map_err(|source| SandboxError::Sandbox {
                    action: "begin anew the log of container",
                    id: container.id().to_owned(),
                    source: Box::new(source),
                })
        })
        .await
    }
}
