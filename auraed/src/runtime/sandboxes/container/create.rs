//! Writing down a container.

use crate::runtime::sandboxes::entry::{Container, Entry};
use crate::runtime::sandboxes::error::SandboxError;
use crate::runtime::sandboxes::record::{ContainerRecord, now};
use crate::runtime::sandboxes::registry::{Claim, InSandbox};
use crate::runtime::sandboxes::{Sandboxes, Shared, check, spec};
use crate::stop_signal;
use api::{ContainerState, RuntimeEventKind};
use auraed_api::runtime::v0 as api;
use auraed_image::{Image, Reference};
use auraed_state::ContainerRow;
use prost::Message as _;
use std::sync::Arc;

impl Sandboxes {
    /// Makes a container that does not run yet; one with the same id and spec stays as it is.
    ///
    /// # Errors
    /// [`SandboxError::Invalid`], [`SandboxError::NoSandbox`], [`SandboxError::NotReady`], [`SandboxError::NoImage`],
    /// [`SandboxError::Differs`], [`SandboxError::NameTaken`], or the step that failed: then nothing is left of it.
    pub(crate) async fn create_container(&self, spec: api::ContainerSpec) -> Result<(), SandboxError> {
        check::container(&spec)?;
        let shared = Arc::clone(&self.shared);
        self.finish(async move { shared.create_container(spec).await })
            .await
    }
}

impl Shared {
    async fn create_container(&self, whole: api::ContainerSpec) -> Result<(), SandboxError> {
        let entry = self.exact(&whole.sandbox)?;
        let _shared_turn = entry.turn.read().await;
        entry.sandbox()?;
        check::fits(&whole, &entry.spec)?;
        loop {
            let container = Arc::new(self.container(&whole)?);
            // Before it is known: nobody else waits for it yet.
            let turn = container.turn.lock().await;
            match self.registry.claim_container(&entry, &container)? {
                Claim::New(..) => {
                    let made = self.make_container(&entry, &container, &whole).await;
                    if made.is_err() {
                        self.registry.forget_container(&entry, &container);
                    }
                    drop(turn);
                    return made;
                }
                Claim::Known(found) => {
                    let _turn = found.container.turn.lock().await;
                    if !found.container.is_gone() {
                        return self.same(&found, whole).await;
                    }
                }
            }
        }
    }

    fn exact(&self, id: &str) -> Result<Arc<Entry>, SandboxError> {
        let entry = self.registry.sandbox(id)?;
        if entry.id() == id {
            return Ok(entry);
        }
        Err(SandboxError::NoSandbox { id: id.to_owned() })
    }

    /// What is to be remembered of it.
    fn container(&self, whole: &api::ContainerSpec) -> Result<Container, SandboxError> {
        let image = spec::image(&self.node.images, &whole.image)?;
        let mut mounted_images = Vec::new();
        for mount in whole.mounts.iter().filter(|mount| !mount.image.is_empty()) {
            mounted_images.push(spec::image(&self.node.images, &mount.image)?.id.clone());
        }
        let wanted = [&whole.stop_signal, &image.config.stop_signal];
        let stop_signal = wanted.into_iter().find_map(|text| stop_signal::number(text));
        let record = ContainerRecord {
            state: ContainerState::Created.into(),
            created_at: now(),
            image: image.id.clone(),
            image_reference: reference(&image, &whole.image),
            mounted_images,
            stop_signal: stop_signal.unwrap_or(stop_signal::DEFAULT),
            ..ContainerRecord::default()
        };
        let redacted = api::ContainerSpec {
            env: Vec::new(),
            ..whole.clone()
        };
        Ok(Container::new(redacted, record))
    }

    async fn make_container(
        &self,
        entry: &Entry,
        container: &Container,
        whole: &api::ContainerSpec,
    ) -> Result<(), SandboxError> {
        // Now that it is known its images stay: those that were removed in between are missed here.
        let facts = self.facts(container, whole.clone())?;
        // The file first: what is in SQLite can be started.
        let planned = self.keep(facts).await?;
        // While the disk is waited for.
        self.make_root(entry, container, planned);
        let record = container.record();
        let row = ContainerRow {
            id: whole.id.clone(),
            sandbox: whole.sandbox.clone(),
            spec: container.spec.encode_to_vec(),
            record: record.encode_to_vec(),
        };
        if let Err(error) = self.node.state.put_container(row).await {
            self.remove_files(entry, container).await;
            return Err(error.into());
        }
        self.tell(RuntimeEventKind::Created, entry, container.id());
        Ok(())
    }

    /// That a container which is there is the one that is wanted.
    async fn same(&self, found: &InSandbox, wanted: api::ContainerSpec) -> Result<(), SandboxError> {
        let same = match self.whole_spec(&found.container).await? {
            Some(whole) => whole == wanted,
            None => {
                let redacted = api::ContainerSpec {
                    env: Vec::new(),
                    ..wanted.clone()
                };
                *found.container.spec == redacted
            }
        };
        if same {
            return Ok(());
        }
        Err(SandboxError::Differs {
            what: "container",
            id: wanted.id,
        })
    }
}

/// The image as `repository@digest`, of the repository that the caller named if it has one there; else its id.
fn reference(image: &Image, asked: &str) -> String {
    let name = asked
        .parse::<Reference>()
        .map(|reference| format!("{}@", reference.name()));
    let named = name
        .ok()
        .and_then(|name| image.digests.iter().find(|digest| digest.starts_with(&name)));
    named.or(image.digests.first()).unwrap_or(&image.id).clone()
}
