//! Asking a container to end, and making it.

use crate::runtime::sandboxes::entry::{Container, Entry};
use crate::runtime::sandboxes::error::SandboxError;
use crate::runtime::sandboxes::registry::InSandbox;
use crate::runtime::sandboxes::{Sandboxes, Shared};
use api::ContainerState;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::{Error, Sandbox};
use std::sync::Arc;
use std::time::Duration;

/// What was killed has ended by then, unless it hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(60);

impl Sandboxes {
    /// Signals a container, and kills it after the grace time. Succeeds for one that does not run, or is not there.
    /// Returns when it has ended.
    ///
    /// # Errors
    /// If it hangs in the kernel.
    pub(crate) async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), SandboxError> {
        let InSandbox { entry, container } = match self.shared.registry.container(id) {
            Ok(found) => found,
            Err(SandboxError::NoContainer { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let shared = Arc::clone(&self.shared);
        self.finish(async move {
            {
                // A start that is under way is waited for; a container that is only made does not run.
                let _shared_turn = entry.turn.read().await;
                let _turn = container.turn.lock().await;
            }
            if container.state() != ContainerState::Running {
                return Ok(());
            }
            if let Ok(sandbox) = entry.sandbox() {
                if !grace.is_zero() {
                    let signal = container.record().stop_signal;
                    arrived(sandbox.signal(container.id(), signal).await, &container)?;
                    if tokio::time::timeout(grace, container.ended()).await.is_ok() {
                        return Ok(());
                    }
                }
                shared.kill(&entry, &container, &sandbox).await?;
            }
            // Its sandbox may be being ended, and takes it along: that is waited for, too.
            let ended = tokio::time::timeout(PATIENCE, container.ended()).await;
            ended.map_err(|_| does_not_end(&container))
        })
        .await
    }
}

impl Shared {
    /// Kills every process of a container, and waits for its end.
    pub(super) async fn kill(
        &self,
        entry: &Entry,
        container: &Container,
        sandbox: &Sandbox,
    ) -> Result<(), SandboxError> {
        arrived(sandbox.kill(container.id()).await, container)?;
        let ended = async {
            tokio::select! {
                () = container.ended() => {}
                // Whoever ends the sandbox ends it, too.
                () = entry.life.cancelled() => {}
            }
        };
        match tokio::time::timeout(PATIENCE, ended).await {
            Ok(()) => Ok(()),
            Err(_) => Err(does_not_end(container)),
        }
    }
}

fn does_not_end(container: &Container) -> SandboxError {
    SandboxError::Sandbox {
        action: "kill container",
        id: container.id().to_owned(),
        source: Box::new(Error::Init("it was killed and does not end".to_owned())),
    }
}

/// What does not run any more needs no signal.
fn arrived(sent: Result<(), Error>, container: &Container) -> Result<(), SandboxError> {
    match sent {
        Ok(()) | Err(Error::NotRunning | Error::Gone) => Ok(()),
        Err(source) => Err(SandboxError::Sandbox {
            action: "signal container",
            id: container.id().to_owned(),
            source: Box::new(source),
        }),
    }
}
