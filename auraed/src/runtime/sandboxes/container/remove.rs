//! Forgetting a container.

use crate::runtime::sandboxes::entry::{Container, Entry};
use crate::runtime::sandboxes::error::SandboxError;
use crate::runtime::sandboxes::registry::InSandbox;
use crate::runtime::sandboxes::{Sandboxes, Shared};
use api::{ContainerState, RuntimeEventKind};
use auraed_api::runtime::v0 as api;
use std::sync::Arc;

/// How often a container's end is looked for that another call brings about.
const TRIES: u32 = 3;

impl Sandboxes {
    /// Kills a container if it runs, and forgets it. Succeeds if there is none.
    ///
    /// # Errors
    /// If it does not end, or is still written down.
    pub(crate) async fn remove_container(&self, id: &str) -> Result<(), SandboxError> {
        let InSandbox { entry, container } = match self.shared.registry.container(id) {
            Ok(found) => found,
            Err(SandboxError::NoContainer { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let shared = Arc::clone(&self.shared);
        self.finish(async move {
            for _ in 0..TRIES {
                let _shared_turn = entry.turn.read().await;
                let _turn = container.turn.lock().await;
                if container.is_gone() {
                    return Ok(());
                }
                if container.state() == ContainerState::Running
                    && let Ok(sandbox) = entry.sandbox()
                {
                    shared.kill(&entry, &container, &sandbox).await?;
                }
                if container.state() != ContainerState::Running {
                    return shared.forget_container(&entry, &container).await;
                }
                // Its sandbox is being ended, and has its turn before this comes again.
            }
            Err(SandboxError::Sandbox {
                action: "remove container",
                id: container.id().to_owned(),
                source: Box::new(auraed_sandbox::Error::Init("its sandbox does not end".to_owned())),
            })
        })
        .await
    }
}

impl Shared {
    /// What a crash leaves of its files is nobody's, and goes with the next start.
    async fn forget_container(&self, entry: &Entry, container: &Container) -> Result<(), SandboxError> {
        self.node.state.remove_container(container.id()).await?;
        // Before the id is free: another container of it has files of its own.
        self.remove_files(entry, container).await;
        self.registry.forget_container(entry, container);
        self.tell(RuntimeEventKind::Removed, entry, container.id());
        Ok(())
    }

    pub(super) async fn remove_files(&self, entry: &Entry, container: &Container) {
        drop(container.take_root().await);
        self.remove_spec(entry.id(), container.id()).await;
        let place = self.node.directories.container(entry.id(), container.id());
        self.discard(place.path().to_owned()).await;
    }
}
