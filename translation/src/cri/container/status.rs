//! How a container is.

use std::collections::HashMap;

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;
use serde_json::json;

use super::super::{resources, signal, time};
use super::mounts;

/// The status of one container.
#[must_use]
pub fn status(container: &aurae::ContainerStatus) -> cri::ContainerStatus {
    let spec = container.spec.clone().unwrap_or_default();
    let resources = container.resources.as_ref().map(|given| cri::ContainerResources {
        linux: Some(resources::shown(given)),
        windows: None,
    });
    let user = container.user.as_ref().map(|user| cri::ContainerUser {
        linux: Some(cri::LinuxContainerUser {
            uid: user.uid.into(),
            gid: user.gid.into(),
            supplemental_groups: user
                .supplemental_groups
                .iter()
                .map(|group| (*group).into())
                .collect(),
        }),
    });
    cri::ContainerStatus {
        metadata: Some(metadata(&spec)),
        state: state(container) as i32,
        created_at: time::nanoseconds(container.created_at.as_ref()),
        started_at: time::nanoseconds(container.started_at.as_ref()),
        finished_at: time::nanoseconds(container.finished_at.as_ref()),
        exit_code: container.exit_code,
        image: Some(image(&spec)),
        image_ref: reference(container, &spec),
        reason: container.reason.clone(),
        message: container.message.clone(),
        mounts: spec.mounts.iter().map(mounts::shown).collect(),
        log_path: spec.log_path,
        resources,
        image_id: container.image_id.clone(),
        user,
        stop_signal: signal::stop(container),
        id: spec.id,
        labels: spec.labels,
        annotations: spec.annotations,
    }
}

/// One of a list.
#[must_use]
pub fn item(mut container: aurae::ContainerStatus) -> cri::Container {
    let spec = container.spec.take().unwrap_or_default();
    cri::Container {
        metadata: Some(metadata(&spec)),
        image: Some(image(&spec)),
        image_ref: reference(&container, &spec),
        state: state(&container) as i32,
        created_at: time::nanoseconds(container.created_at.as_ref()),
        image_id: container.image_id,
        id: spec.id,
        pod_sandbox_id: spec.sandbox,
        labels: spec.labels,
        annotations: spec.annotations,
    }
}

pub(in crate::cri) fn metadata(spec: &aurae::ContainerSpec) -> cri::ContainerMetadata {
    cri::ContainerMetadata {
        name: spec.name.clone(),
        attempt: spec.attempt,
    }
}

/// What the user wrote, where that is known.
fn image(spec: &aurae::ContainerSpec) -> cri::ImageSpec {
    let shown = if spec.image_shown.is_empty() {
        &spec.image
    } else {
        &spec.image_shown
    };
    cri::ImageSpec {
        image: shown.clone(),
        user_specified_image: spec.image_shown.clone(),
        ..Default::default()
    }
}

/// Never empty: kubelet takes a status without it for none.
fn reference(container: &aurae::ContainerStatus, spec: &aurae::ContainerSpec) -> String {
    [&container.image_reference, &container.image_id, &spec.image]
        .into_iter()
        .find(|text| !text.is_empty())
        .cloned()
        .unwrap_or_default()
}

fn state(container: &aurae::ContainerStatus) -> cri::ContainerState {
    match container.state() {
        aurae::ContainerState::Created => cri::ContainerState::ContainerCreated,
        aurae::ContainerState::Running => cri::ContainerState::ContainerRunning,
        aurae::ContainerState::Exited => cri::ContainerState::ContainerExited,
        aurae::ContainerState::Unknown | aurae::ContainerState::Unspecified => {
            cri::ContainerState::ContainerUnknown
        }
    }
}

/// What `crictl inspect` shows beside the status.
#[must_use]
pub fn info(container: &aurae::ContainerStatus) -> HashMap<String, String> {
    let spec = container.spec.clone().unwrap_or_default();
    let security = spec.security.unwrap_or_default();
    let info = json!({
        "sandboxID": spec.sandbox,
        "pid": container.pid,
        "command": spec.command,
        "args": spec.args,
        "workingDirectory": spec.working_directory,
        "privileged": security.privileged,
        "tty": spec.tty,
    });
    [("info".to_owned(), info.to_string())].into()
}
