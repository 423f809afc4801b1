//! Reading pods: the few facts that tests ask for again and again.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};

/// The phase, empty before there is one.
pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Whether a condition is True.
pub fn holds(pod: &Pod, condition: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|list| {
        list.iter()
            .any(|one| one.type_ == condition && one.status == "True")
    })
}

/// The pod's address, empty before there is one.
pub fn address(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.pod_ip.as_deref())
        .unwrap_or_default()
}

/// The status of a container, init containers among them.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses];
    lists
        .into_iter()
        .flatten()
        .flatten()
        .find(|container| container.name == name)
}

fn state<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerState> {
    container(pod, name)?.state.as_ref()
}

/// Why a container waits, empty if it does not.
pub fn waiting<'a>(pod: &'a Pod, name: &str) -> &'a str {
    state(pod, name)
        .and_then(|state| state.waiting.as_ref()?.reason.as_deref())
        .unwrap_or_default()
}

/// What is said beside [`waiting`].
pub fn waiting_message<'a>(pod: &'a Pod, name: &str) -> &'a str {
    state(pod, name)
        .and_then(|state| state.waiting.as_ref()?.message.as_deref())
        .unwrap_or_default()
}

/// How a container ended, if it has and is not to run again.
pub fn terminated<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStateTerminated> {
    state(pod, name)?.terminated.as_ref()
}

/// How a container's run before this one ended.
pub fn last_terminated<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStateTerminated> {
    container(pod, name)?.last_state.as_ref()?.terminated.as_ref()
}

/// Whether a container runs.
pub fn runs(pod: &Pod, name: &str) -> bool {
    state(pod, name).is_some_and(|state| state.running.is_some())
}

/// How often a container was started again, -1 before it has a status.
pub fn restarts(pod: &Pod, name: &str) -> i32 {
    container(pod, name).map_or(-1, |container| container.restart_count)
}
