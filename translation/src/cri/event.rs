//! Events of sandboxes and containers.

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;

use super::{container, sandbox, time};

/// `None` for an event of a kind that the CRI does not know. An event of a sandbox itself bears the sandbox's id in the
/// container's place, as other runtimes do it.
#[must_use]
pub fn translate(event: &aurae::RuntimeEvent) -> Option<cri::ContainerEventResponse> {
    let kind = match event.kind() {
        aurae::RuntimeEventKind::Created => cri::ContainerEventType::ContainerCreatedEvent,
        aurae::RuntimeEventKind::Started => cri::ContainerEventType::ContainerStartedEvent,
        aurae::RuntimeEventKind::Stopped => cri::ContainerEventType::ContainerStoppedEvent,
        aurae::RuntimeEventKind::Removed => cri::ContainerEventType::ContainerDeletedEvent,
        aurae::RuntimeEventKind::Unspecified => return None,
    };
    let status = event.sandbox.as_ref().map(sandbox::status);
    let container_id = match (event.container.as_str(), &status) {
        ("", Some(status)) => status.id.clone(),
        (id, _) => id.to_owned(),
    };
    Some(cri::ContainerEventResponse {
        container_id,
        container_event_type: kind as i32,
        created_at: time::nanoseconds(event.time.as_ref()),
        pod_sandbox_status: status,
        containers_statuses: event.containers.iter().map(container::status).collect(),
    })
}
