//! What every call needs: auraed, the streaming server, and when to stop.

use std::time::{SystemTime, UNIX_EPOCH};

use auraed_api::runtime::v0 as api;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use translation::cri::{Refused, id};

use crate::aurae::Aurae;
use crate::streams::Streams;

/// The CRI server. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Shim {
    pub(crate) aurae: Aurae,
    pub(crate) streams: Streams,
    /// Ends streams that would never end by themselves.
    pub(crate) stop: CancellationToken,
}

impl Shim {
    /// The whole id of a sandbox that may be named by the beginning of it.
    pub(crate) async fn sandbox_id(&self, given: &str) -> Result<String, Status> {
        if id::is_whole(given) {
            return Ok(given.to_owned());
        }
        let (sandbox, _) = self.sandbox(given).await?;
        Ok(sandbox.spec.unwrap_or_default().id)
    }

    /// The whole id of a container that may be named by the beginning of it.
    pub(crate) async fn container_id(&self, given: &str) -> Result<String, Status> {
        if id::is_whole(given) {
            return Ok(given.to_owned());
        }
        Ok(self.container(given).await?.spec.unwrap_or_default().id)
    }

    /// A sandbox with its containers.
    pub(crate) async fn sandbox(
        &self,
        id: &str,
    ) -> Result<(api::SandboxStatus, Vec<api::ContainerStatus>), Status> {
        present("pod_sandbox_id", id)?;
        let request = api::GetSandboxRequest { id: id.to_owned() };
        let answer = self
            .aurae
            .ask(self.aurae.control.sandboxes().get_sandbox(request))
            .await?;
        let sandbox = answer.sandbox.ok_or_else(|| empty("a sandbox"))?;
        Ok((sandbox, answer.containers))
    }

    /// A container.
    pub(crate) async fn container(&self, id: &str) -> Result<api::ContainerStatus, Status> {
        present("container_id", id)?;
        let request = api::GetContainerRequest { id: id.to_owned() };
        let answer = self
            .aurae
            .ask(self.aurae.control.containers().get_container(request))
            .await?;
        answer.container.ok_or_else(|| empty("a container"))
    }
}

/// What is not there any more has ended and is removed.
pub(crate) fn unless_gone(outcome: Result<(), Status>) -> Result<(), Status> {
    match outcome {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        other => other,
    }
}

/// Fields that this node does not serve.
pub(crate) fn refused(refused: &Refused) -> Status {
    Status::invalid_argument(refused.to_string())
}

pub(crate) fn present(field: &str, value: &str) -> Result<(), Status> {
    if value.is_empty() {
        return Err(Status::invalid_argument(format!("{field}: must not be empty")));
    }
    Ok(())
}

/// auraed's answer lacks what it is about.
pub(crate) fn empty(what: &str) -> Status {
    Status::internal(format!("auraed answered without {what}"))
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
