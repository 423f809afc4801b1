//! Whole specs of containers, in memory with the values of their environments, and what is made of them.
//!
//! Files of the node are read for that, such as profiles: all of it is done off the async threads.

use crate::files;
use crate::runtime::sandboxes::Shared;
use crate::runtime::sandboxes::entry::Container;
use crate::runtime::sandboxes::error::SandboxError;
use crate::runtime::sandboxes::spec::{self, Facts};
use auraed_api::runtime::v0 as api;
use auraed_sandbox::{ContainerSpec, check_mounts};
use prost::Message as _;
use std::io;
use std::path::Path;

impl Shared {
    /// What a container is made of.
    pub(super) fn facts(
        &self,
        container: &Container,
        whole: api::ContainerSpec,
    ) -> Result<Facts, SandboxError> {
        let (image, mounted) = spec::used(&self.node.images, &container.record())?;
        Ok(Facts {
            spec: whole,
            image,
            mounted,
            resources: container.resources(),
            images: self.node.images.clone(),
            directories: self.node.directories.clone(),
        })
    }

    /// Makes sure that it could be started, and keeps the whole spec. Tells what would be started.
    pub(super) async fn keep(&self, facts: Facts) -> Result<ContainerSpec, SandboxError> {
        blocking(move || {
            let planned = spec::container(&facts)?;
            check_mounts(&planned.mounts).map_err(|source| SandboxError::Sandbox {
                action: "mount what is asked for into container",
                id: facts.spec.id.clone(),
                source: Box::new(source),
            })?;
            let Facts {
                spec, directories, ..
            } = facts;
            let written = files::make_private(&directories.specs(&spec.sandbox)).and_then(|()| {
                let path = directories.spec(&spec.sandbox, &spec.id);
                files::replace(&path, &spec.encode_to_vec(), 0o600)
            });
            written.map(|()| planned).map_err(|source| SandboxError::Files {
                action: "keep the spec of container",
                id: spec.id,
                source,
            })
        })
        .await
    }

    /// What is to be started.
    pub(super) async fn planned(&self, container: &Container) -> Result<ContainerSpec, SandboxError> {
        let mut facts = self.facts(container, api::ContainerSpec::default())?;
        let (sandbox, id) = (container.spec.sandbox.clone(), container.id().to_owned());
        blocking(move || {
            let whole = read(&facts.directories.spec(&sandbox, &id), &id)?;
            facts.spec = whole.ok_or(SandboxError::EnvironmentLost { id })?;
            spec::container(&facts)
        })
        .await
    }

    /// The whole spec; absent if memory has lost it.
    pub(super) async fn whole_spec(
        &self,
        container: &Container,
    ) -> Result<Option<api::ContainerSpec>, SandboxError> {
        let id = container.id().to_owned();
        let path = self.node.directories.spec(&container.spec.sandbox, &id);
        blocking(move || read(&path, &id)).await
    }

    pub(super) async fn remove_spec(&self, sandbox: &str, container: &str) {
        let path = self.node.directories.spec(sandbox, container);
        let removing = tokio::task::spawn_blocking(move || fs_err::remove_file(path));
        match removing.await {
            Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(container, %error, "the spec of a container is left in memory");
            }
            _ => {}
        }
    }
}

fn read(path: &Path, id: &str) -> Result<Option<api::ContainerSpec>, SandboxError> {
    let bytes = files::read(path).map_err(|source| SandboxError::Files {
        action: "read the spec of container",
        id: id.to_owned(),
        source,
    })?;
    Ok(bytes.and_then(|bytes| api::ContainerSpec::decode(bytes.as_slice()).ok()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(SandboxError::Stopping))
}
