//! Running a created container.

use crate::runtime::sandboxes::entry::{Container, Entry};
use crate::runtime::sandboxes::error::SandboxError;
use crate::runtime::sandboxes::registry::InSandbox;
use crate::runtime::sandboxes::{Sandboxes, Shared, listen};
use crate::server::chain;
use api::ContainerState;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::StartError;
use std::sync::Arc;

impl Sandboxes {
    /// Runs a created container; returns when its program was executed.
    ///
    /// # Errors
    /// [`SandboxError::NoContainer`], [`SandboxError::State`], [`SandboxError::NotReady`]. [`SandboxError::Start`] and what
    /// else makes it impossible leaves the container exited.
    pub(crate) async fn start_container(&self, id: &str) -> Result<(), SandboxError> {
        let InSandbox { entry, container } = self.shared.registry.container(id)?;
        let shared = Arc::clone(&self.shared);
        self.finish(async move {
            let _shared_turn = entry.turn.read().await;
            let _turn = container.turn.lock().await;
            if container.is_gone() {
                return Err(SandboxError::NoContainer {
                    id: container.id().to_owned(),
                });
            }
            container.expect(ContainerState::Created)?;
            shared.start(&entry, &container).await
        })
        .await
    }
}

impl Shared {
    async fn start(&self, entry: &Entry, container: &Container) -> Result<(), SandboxError> {
        let sandbox = entry.sandbox()?;
        let root = container.take_root().await;
        let started = match self.planned(container).await {
            Ok(spec) => match entry
                .life
                .run_until_cancelled(sandbox.start_with_root(spec, root))
                .await
            {
                Some(Ok(run)) => Ok(run),
                Some(Err(source)) => Err(SandboxError::Start {
                    id: container.id().to_owned(),
                    source: Box::new(source),
                }),
                // Whoever ends the sandbox ends what was begun.
                None => Err(SandboxError::Start {
                    id: container.id().to_owned(),
                    source: Box::new(StartError::Sandbox(auraed_sandbox::Error::Gone)),
                }),
            },
            Err(error) => Err(error),
        };
        match started {
            Ok(run) => {
                self.apply(entry, container, listen::told(run));
                Ok(())
            }
            Err(error) => {
                let change = listen::not_started(reason(&error));
                self.apply(entry, container, change);
                Err(error)
            }
        }
    }
}

/// The status's message: what is to blame, without the call that failed.
fn reason(error: &SandboxError) -> String {
    match error {
        SandboxError::Start { source, .. } => chain(source),
        error => chain(error),
    }
}
