//! What auraed reports of a pod, as a Kubernetes event.

use auraed_api::observe::v0 as observe;
use k8s_openapi::api::core::v1::{Event, Pod};

/// The event to create for `event`, about `pod`, from the node named `node`.
pub fn to_kubernetes(_event: &observe::Event, _pod: &Pod, _node: &str) -> Event {
    Event::default()
}
