//! One container: what it runs, and how. The other modules give its parts.

use auraed_api::runtime::v0::{
    self as runtime, ImagePullPolicy, Port, Protocol, RestartPolicy, TerminationMessagePolicy,
};
use k8s_openapi::api::core::v1::{Container, ContainerPort};

use super::{Scope, env, handler, is_sidecar, mount, resources, security};
use crate::problem::Problems;

pub(super) fn translate(
    scope: Scope<'_>,
    path: &str,
    container: &Container,
    init: bool,
    problems: &mut Problems,
) -> runtime::Container {
    let image = container.image.clone().unwrap_or_default();
    if image.is_empty() {
        problems.refuse(format!("{path}.image"), "a container needs an image");
    }
    let lifecycle = container.lifecycle.as_ref();
    let post_start = lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref());
    let pre_stop = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let mut handlers = handler::Handlers {
        path,
        container,
        problems,
    };
    let startup_probe = handlers.probe("startupProbe", container.startup_probe.as_ref());
    let readiness_probe = handlers.probe("readinessProbe", container.readiness_probe.as_ref());
    let liveness_probe = handlers.probe("livenessProbe", container.liveness_probe.as_ref());
    let post_start = handlers.hook("postStart", post_start);
    let pre_stop = handlers.hook("preStop", pre_stop);
    runtime::Container {
        name: container.name.clone(),
        image,
        image_pull_policy: pull_policy(container.image_pull_policy.as_deref()).into(),
        command: container.command.clone().unwrap_or_default(),
        args: container.args.clone().unwrap_or_default(),
        working_directory: container.working_dir.clone().unwrap_or_default(),
        env: env::translate(scope, path, container, problems),
        mounts: mount::translate(scope, path, container, problems),
        resources: resources::translate(path, container, problems),
        security: Some(security::translate(scope, path, container, problems)),
        tty: container.tty.unwrap_or(false),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        termination_message_path: container.termination_message_path.clone().unwrap_or_default(),
        termination_message_policy: message_policy(container).into(),
        ports: container
            .ports
            .iter()
            .flatten()
            .map(|given| port(scope, given))
            .collect(),
        restart_policy: if init && is_sidecar(container) {
            RestartPolicy::Always.into()
        } else {
            RestartPolicy::Unspecified.into()
        },
        startup_probe,
        readiness_probe,
        liveness_probe,
        post_start,
        pre_stop,
    }
}

fn pull_policy(policy: Option<&str>) -> ImagePullPolicy {
    match policy {
        Some("Always") => ImagePullPolicy::Always,
        Some("IfNotPresent") => ImagePullPolicy::IfNotPresent,
        Some("Never") => ImagePullPolicy::Never,
        _ => ImagePullPolicy::Unspecified,
    }
}

fn message_policy(container: &Container) -> TerminationMessagePolicy {
    match container.termination_message_policy.as_deref() {
        Some("FallbackToLogsOnError") => TerminationMessagePolicy::FallbackToLogsOnError,
        _ => TerminationMessagePolicy::Unspecified,
    }
}

fn port(scope: Scope<'_>, port: &ContainerPort) -> Port {
    let protocol = match port.protocol.as_deref() {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Unspecified,
    };
    // On the node's own network there is nothing to map: the two are equal.
    let host_port = if scope.host_network() {
        0
    } else {
        port.host_port.unwrap_or(0)
    };
    Port {
        name: port.name.clone().unwrap_or_default(),
        container_port: u32::try_from(port.container_port).unwrap_or(0),
        host_port: u32::try_from(host_port).unwrap_or(0),
        host_address: port.host_ip.clone().unwrap_or_default(),
        protocol: protocol.into(),
    }
}
