//! The status that the API should have, from what is known of a pod. Pure.

use auraed_api::schedule::v0 as schedule;
use auraed_api::schedule::v0::container_state::State as ContainerStateKind;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodStatus};
use translation::{Node, status};

use super::state::{Stands, State};

/// None where nothing can be said: auraed is away, or the status is final already.
pub fn desired(state: &State, node: &Node, now: Timestamp) -> Option<PodStatus> {
    if !state.synced || state.gone || state.deleted || state.removed {
        return None;
    }
    let object = state.object.as_ref().unwrap_or(&state.pod);
    if let Stands::Refused(problems) = &state.stands {
        let terminal = state.is_terminal();
        return (!terminal && state.observed.is_none()).then(|| status::refused(object, problems, now));
    }
    match &state.observed {
        Some(observed) => Some(status::to_kubernetes(observed, object, node, now)),
        None if state.is_terminal() => None,
        None if state.is_deleting() => {
            // Handed over, so it will be told of.
            (!state.is_handed_over())
                .then(|| status::to_kubernetes(&never_ran(&state.pod), object, node, now))
        }
        None => {
            let problems = match &state.stands {
                Stands::Waiting(problems) => problems.as_slice(),
                Stands::Nothing | Stands::Refused(_) => &[],
            };
            Some(status::waiting(object, problems, node, now))
        }
    }
}

/// True where the status only says that a start or an end is under way, so that it may wait a moment for a better one.
pub fn is_passing(status: &PodStatus) -> bool {
    is_beginning(status) || is_ending(status)
}

fn is_beginning(status: &PodStatus) -> bool {
    let init = status.init_container_statuses.iter().flatten();
    status.phase.as_deref() == Some("Pending")
        && status
            .container_statuses
            .iter()
            .flatten()
            .chain(init)
            .all(is_quiet)
}

/// A container that did not start yet, and of which nothing else can be said.
fn is_quiet(container: &ContainerStatus) -> bool {
    let never = container
        .last_state
        .as_ref()
        .is_none_or(|last| last.terminated.is_none());
    let quiet = |state: &ContainerState| match &state.waiting {
        Some(waiting) => {
            let reason = waiting.reason.as_deref();
            matches!(reason, None | Some("ContainerCreating" | "PodInitializing"))
        }
        None => state.running.is_none() && state.terminated.is_none(),
    };
    never && container.state.as_ref().is_none_or(quiet)
}

/// All containers ended, and what comes of that, a phase or a restart, is not said yet.
fn is_ending(status: &PodStatus) -> bool {
    let ended = |container: &ContainerStatus| {
        container
            .state
            .as_ref()
            .is_some_and(|state| state.terminated.is_some())
    };
    let mut containers = status.container_statuses.iter().flatten().peekable();
    status.phase.as_deref() == Some("Running") && containers.peek().is_some() && containers.all(ended)
}

/// What a pod is that was deleted before auraed had it: over, and its containers are not to be found.
fn never_ran(pod: &Pod) -> schedule::PodStatus {
    let container = |container: &Container| schedule::ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(schedule::ContainerState {
            state: Some(ContainerStateKind::Terminated(schedule::Terminated {
                exit_code: 137,
                reason: "ContainerStatusUnknown".into(),
                message: "The container could not be located when the pod was terminated".into(),
                ..schedule::Terminated::default()
            })),
        }),
        ..schedule::ContainerStatus::default()
    };
    let spec = pod.spec.as_ref();
    let containers = spec.map(|spec| spec.containers.iter().map(container).collect());
    let init = spec
        .and_then(|spec| spec.init_containers.as_ref())
        .map(|all| all.iter().map(container).collect());
    schedule::PodStatus {
        id: pod.metadata.uid.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        observed_generation: pod.metadata.generation.unwrap_or_default(),
        phase: schedule::Phase::Failed.into(),
        containers: containers.unwrap_or_default(),
        init_containers: init.unwrap_or_default(),
        stopping: true,
        finished: true,
        ..schedule::PodStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(phase: &str, state: Value) -> PodStatus {
        let container = json!({ "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": state });
        serde_json::from_value(json!({ "phase": phase, "containerStatuses": [container] })).expect("a status")
    }

    #[test]
    fn only_what_says_nothing_yet_may_wait() {
        let waiting = |reason: &str| json!({ "waiting": { "reason": reason } });
        assert!(is_passing(&status("Pending", waiting("ContainerCreating"))));
        assert!(!is_passing(&status("Pending", waiting("ErrImagePull"))));
        assert!(!is_passing(&status("Running", waiting("CrashLoopBackOff"))));
        let ended = json!({ "terminated": { "exitCode": 0 } });
        assert!(is_passing(&status("Running", ended.clone())));
        assert!(!is_passing(&status("Succeeded", ended)));
        assert!(!is_passing(&status("Running", json!({ "running": {} }))));
    }
}
