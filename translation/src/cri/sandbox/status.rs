//! How a sandbox is.

use std::collections::HashMap;

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;
use serde_json::json;

use super::super::{container, namespaces, time};

/// The status of one sandbox. One that is not ready has no addresses any more.
#[must_use]
pub fn status(sandbox: &aurae::SandboxStatus) -> cri::PodSandboxStatus {
    let spec = sandbox.spec.clone().unwrap_or_default();
    let mut addresses = sandbox.addresses.iter().cloned();
    let network = cri::PodSandboxNetworkStatus {
        ip: addresses.next().unwrap_or_default(),
        additional_ips: addresses.map(|ip| cri::PodIp { ip }).collect(),
    };
    let options = namespaces::options_shown(&spec);
    cri::PodSandboxStatus {
        metadata: Some(metadata(&spec)),
        state: state(sandbox) as i32,
        created_at: time::nanoseconds(sandbox.created_at.as_ref()),
        network: Some(network),
        linux: Some(cri::LinuxPodSandboxStatus {
            namespaces: Some(cri::Namespace {
                options: Some(options),
            }),
        }),
        id: spec.id,
        labels: spec.labels,
        annotations: spec.annotations,
        runtime_handler: spec.runtime_handler,
    }
}

/// The whole answer about one sandbox; `now` in nanoseconds since 1970.
#[must_use]
pub fn status_response(
    sandbox: &aurae::SandboxStatus,
    containers: &[aurae::ContainerStatus],
    verbose: bool,
    now: i64,
) -> cri::PodSandboxStatusResponse {
    cri::PodSandboxStatusResponse {
        status: Some(status(sandbox)),
        info: if verbose { info(sandbox) } else { HashMap::new() },
        containers_statuses: containers.iter().map(container::status).collect(),
        timestamp: now,
    }
}

/// One of a list.
#[must_use]
pub fn item(mut sandbox: aurae::SandboxStatus) -> cri::PodSandbox {
    let spec = sandbox.spec.take().unwrap_or_default();
    cri::PodSandbox {
        metadata: Some(metadata(&spec)),
        state: state(&sandbox) as i32,
        created_at: time::nanoseconds(sandbox.created_at.as_ref()),
        id: spec.id,
        labels: spec.labels,
        annotations: spec.annotations,
        runtime_handler: spec.runtime_handler,
    }
}

pub(in crate::cri) fn metadata(spec: &aurae::SandboxSpec) -> cri::PodSandboxMetadata {
    cri::PodSandboxMetadata {
        name: spec.name.clone(),
        uid: spec.uid.clone(),
        namespace: spec.namespace.clone(),
        attempt: spec.attempt,
    }
}

fn state(sandbox: &aurae::SandboxStatus) -> cri::PodSandboxState {
    match sandbox.state() {
        aurae::SandboxState::Ready => cri::PodSandboxState::SandboxReady,
        _ => cri::PodSandboxState::SandboxNotready,
    }
}

/// What `crictl inspectp` shows beside the status.
fn info(sandbox: &aurae::SandboxStatus) -> HashMap<String, String> {
    let spec = sandbox.spec.clone().unwrap_or_default();
    let info = json!({
        "pid": sandbox.pid,
        "hostname": spec.hostname,
        "logDirectory": spec.log_directory,
        "cgroupParent": spec.cgroup_parent,
        "runtimeHandler": spec.runtime_handler,
        "message": sandbox.message,
    });
    [("info".to_owned(), info.to_string())].into()
}
