//! What lists tell of sandboxes and containers: who they are and how they are. The rest of their specs, which is most of
//! them, is told of one that is named: a kubelet lists everything each second.

use super::entry::{Container, Entry};
use super::record::{ContainerRecord, Phase, SandboxRecord, to_wire};
use auraed_api::runtime::v0 as api;

impl Entry {
    pub(super) fn brief(&self) -> api::SandboxStatus {
        let SandboxRecord {
            created_at, message, ..
        } = self.record();
        let ready = self.phase() == Phase::Ready && self.sandbox().is_ok();
        let state = if ready {
            api::SandboxState::Ready
        } else {
            api::SandboxState::Stopped
        };
        let spec = &self.spec;
        api::SandboxStatus {
            spec: Some(api::SandboxSpec {
                id: spec.id.clone(),
                name: spec.name.clone(),
                namespace: spec.namespace.clone(),
                uid: spec.uid.clone(),
                attempt: spec.attempt,
                labels: spec.labels.clone(),
                annotations: spec.annotations.clone(),
                runtime_handler: spec.runtime_handler.clone(),
                ..api::SandboxSpec::default()
            }),
            state: state.into(),
            created_at: to_wire(created_at),
            message,
            ..api::SandboxStatus::default()
        }
    }
}

impl Container {
    pub(super) fn brief(&self) -> api::ContainerStatus {
        let ContainerRecord {
            state,
            created_at,
            started_at,
            finished_at,
            exit_code,
            reason,
            message,
            image,
            image_reference,
            resources,
            ..
        } = self.record();
        let spec = &self.spec;
        api::ContainerStatus {
            spec: Some(api::ContainerSpec {
                id: spec.id.clone(),
                sandbox: spec.sandbox.clone(),
                name: spec.name.clone(),
                attempt: spec.attempt,
                labels: spec.labels.clone(),
                annotations: spec.annotations.clone(),
                image: spec.image.clone(),
                image_shown: spec.image_shown.clone(),
                ..api::ContainerSpec::default()
            }),
            state,
            created_at: to_wire(created_at),
            started_at: to_wire(started_at),
            finished_at: to_wire(finished_at),
            exit_code,
            reason,
            message,
            image_id: image,
            image_reference,
            resources: resources.or_else(|| spec.resources.clone()),
            ..api::ContainerStatus::default()
        }
    }
}
