//! A Kubernetes Pod as an Aurae Pod.
//!
//! [`to_aurae`] first asks [`refusals`] what the node cannot serve, then lets each module below translate its part; all of
//! them write what they find into one list, so that a pod's owner learns of everything at once.

use auraed_api::runtime::v0::RestartPolicy;
use auraed_api::schedule::v0 as schedule;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::coverage::{self, Finding};
use crate::problem::{Problems, UNSUPPORTED};
use crate::{Node, Objects, Problem};

mod container;
pub(crate) mod credentials;
mod env;
mod field;
mod handler;
mod mount;
mod network;
mod resources;
mod security;
mod services;
pub(crate) mod volume;

pub(crate) use resources::requests;

/// A field that this node cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field's path, as `spec.containers[0].volumeDevices`.
    pub field: String,
    /// What to know about it.
    pub reason: String,
    /// `status.reason` of the pod for it.
    pub status_reason: &'static str,
    /// The pod does not run for it; else it runs on without what the field asks for.
    pub stops: bool,
}

/// What a translation looks at.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) spec: &'a PodSpec,
    pub(crate) objects: &'a Objects,
    pub(crate) node: &'a Node,
}

impl<'a> Scope<'a> {
    pub(crate) fn namespace(&self) -> &'a str {
        namespace(self.pod)
    }

    /// The pod has no network of its own.
    pub(crate) fn host_network(&self) -> bool {
        self.spec.host_network.unwrap_or(false)
    }
}

/// The namespace of a pod, `default` where it has none.
pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata
        .namespace
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or("default")
}

/// A pod's name; empty where it has none.
pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// An init container that runs beside the others.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// True where the pod came from a manifest of this node, not from the API.
pub(crate) fn is_static(pod: &Pod) -> bool {
    source(pod) != "api"
}

fn source(pod: &Pod) -> &str {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get("kubernetes.io/config.source"))
        .map_or("api", String::as_str)
}

/// Each container with its path, init containers first; true for those.
pub(crate) fn containers(spec: &PodSpec) -> impl Iterator<Item = (String, bool, &Container)> {
    let init = spec.init_containers.iter().flatten().enumerate();
    let init = init.map(|(index, container)| (format!("spec.initContainers[{index}]"), true, container));
    let regular = spec.containers.iter().enumerate();
    init.chain(regular.map(|(index, container)| (format!("spec.containers[{index}]"), false, container)))
}

/// Translates a pod with what it refers to. All problems are found, not only the first.
pub fn to_aurae(pod: &Pod, objects: &Objects, node: &Node) -> Result<schedule::Pod, Vec<Problem>> {
    let (pod, problems) = translate(pod, objects, node);
    let blocking = problems.blocking();
    if blocking.is_empty() {
        Ok(pod)
    } else {
        Err(blocking)
    }
}

/// What the owner of a pod should know of though it runs: pull secrets that are missing, a DNS configuration that is cut.
pub fn warnings(pod: &Pod, objects: &Objects, node: &Node) -> Vec<Problem> {
    translate(pod, objects, node).1.warnings()
}

fn translate(pod: &Pod, objects: &Objects, node: &Node) -> (schedule::Pod, Problems) {
    let mut problems = Problems::default();
    for refusal in refusals(pod).into_iter().filter(|refusal| refusal.stops) {
        problems.refuse_as(refusal.status_reason, refusal.field, refusal.reason);
    }
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let scope = Scope {
        pod,
        spec,
        objects,
        node,
    };
    identity(scope, &mut problems);
    let mut result = schedule::Pod {
        id: pod.metadata.uid.clone().unwrap_or_default(),
        name: name(pod).to_owned(),
        namespace: scope.namespace().to_owned(),
        labels: pod
            .metadata
            .labels
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect(),
        annotations: pod
            .metadata
            .annotations
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect(),
        generation: pod.metadata.generation.unwrap_or_default(),
        volumes: volume::translate(scope, &mut problems),
        restart_policy: restart_policy(spec).into(),
        grace_period_seconds: seconds(spec.termination_grace_period_seconds),
        active_deadline_seconds: seconds(spec.active_deadline_seconds),
        host_network: scope.host_network(),
        host_pid: spec.host_pid.unwrap_or(false),
        host_ipc: spec.host_ipc.unwrap_or(false),
        share_process_namespace: spec.share_process_namespace.unwrap_or(false),
        dns: Some(network::dns(scope, &mut problems)),
        host_aliases: network::host_aliases(spec),
        sysctls: security::sysctls(scope, &mut problems),
        fs_group: security::fs_group(scope, &mut problems),
        credentials: credentials::translate(scope, &mut problems),
        source: source(pod).to_owned(),
        ..schedule::Pod::default()
    };
    (result.hostname, result.fqdn) = network::names(scope, &mut problems);
    for (path, init, container) in containers(spec) {
        let container = container::translate(scope, &path, container, init, &mut problems);
        if init {
            &mut result.init_containers
        } else {
            &mut result.containers
        }
        .push(container);
    }
    (result, problems)
}

fn identity(scope: Scope<'_>, problems: &mut Problems) {
    let metadata = &scope.pod.metadata;
    if metadata.uid.as_deref().unwrap_or_default().is_empty() {
        problems.refuse("metadata.uid", "a pod needs a uid");
    }
    if name(scope.pod).is_empty() {
        problems.refuse("metadata.name", "a pod needs a name");
    }
    if scope.spec.containers.is_empty() {
        problems.refuse("spec.containers", "a pod needs a container");
    }
}

fn restart_policy(spec: &PodSpec) -> RestartPolicy {
    match spec.restart_policy.as_deref() {
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some("Never") => RestartPolicy::Never,
        _ => RestartPolicy::Always,
    }
}

/// The API has checked that it is not negative; a manifest's is taken as 0.
fn seconds(value: Option<i64>) -> Option<u64> {
    value.map(|value| u64::try_from(value).unwrap_or(0))
}

/// What in `pod` this node cannot serve, whatever exists beside it.
pub fn refusals(pod: &Pod) -> Vec<Refusal> {
    let Some(spec) = &pod.spec else {
        let reason = "a pod needs a spec".to_owned();
        return vec![Refusal {
            field: "spec".to_owned(),
            reason,
            status_reason: UNSUPPORTED,
            stops: true,
        }];
    };
    let mut findings = Vec::new();
    // Types of the API serialize to JSON whatever they hold, but for dates, of which a spec has none.
    let json = serde_json::to_value(spec).unwrap_or_default();
    coverage::walk(&json, &coverage::POD_SPEC, "spec", &mut findings);
    for (path, init, container) in containers(spec) {
        // `Always` passes the table for the sake of init containers.
        if !init && is_sidecar(container) {
            let reason = "only init containers have a restart policy of their own";
            findings.push(finding(format!("{path}.restartPolicy"), UNSUPPORTED, reason));
        }
        for (list, name) in resources::huge_pages(container) {
            let reason = "huge pages are not given to containers yet";
            findings.push(finding(
                format!("{path}.resources.{list}[{name}]"),
                UNSUPPORTED,
                reason,
            ));
        }
    }
    // The old spelling of appArmorProfile; the API server turns it into the field, manifests may still hold it.
    for (key, value) in pod.metadata.annotations.iter().flatten() {
        if key.starts_with("container.apparmor.security.beta.kubernetes.io/") && value != "unconfined" {
            let reason = "Cannot enforce AppArmor: this node applies no profiles yet";
            findings.push(finding(
                format!("metadata.annotations[{key}]"),
                "AppArmor",
                reason,
            ));
        }
    }
    findings
        .into_iter()
        .map(
            |Finding {
                 path,
                 status_reason,
                 reason,
                 stops,
             }| Refusal {
                field: path,
                reason,
                status_reason,
                stops,
            },
        )
        .collect()
}

fn finding(path: String, status_reason: &'static str, reason: &str) -> Finding {
    Finding {
        path,
        status_reason,
        reason: reason.to_owned(),
        stops: true,
    }
}

#[cfg(test)]
mod tests;
