//! Statuses of containers.

use auraed_api::schedule::v0::container_state::State;
use auraed_api::schedule::v0::{self as schedule};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ResourceRequirements, VolumeMount, VolumeMountStatus,
};

use super::Scope;
use crate::pod::is_sidecar;
use crate::quantity::Amount;
use crate::time;

/// All termination messages of a pod together; Kubernetes' limit.
const MESSAGES: usize = 12 * 1024;
const RUNTIME: &str = "aurae://";

pub(super) struct Statuses {
    pub(super) init: Vec<ContainerStatus>,
    pub(super) regular: Vec<ContainerStatus>,
    pub(super) ephemeral: Vec<ContainerStatus>,
}

impl Statuses {
    pub(super) fn any_running(&self) -> bool {
        self.init.iter().chain(&self.regular).any(is_running)
    }

    /// Init containers before the others.
    pub(super) fn find(&self, name: &str) -> Option<&ContainerStatus> {
        self.init
            .iter()
            .chain(&self.regular)
            .find(|status| status.name == name)
    }
}

pub(super) fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

pub(super) fn is_terminated(status: &ContainerStatus) -> bool {
    status
        .state
        .as_ref()
        .is_some_and(|state| state.terminated.is_some())
}

fn is_waiting(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_none_or(|state| state.waiting.is_some())
}

fn terminated_before(status: &ContainerStatus) -> bool {
    status
        .last_state
        .as_ref()
        .is_some_and(|state| state.terminated.is_some())
}

pub(super) fn all(scope: Scope<'_>) -> Statuses {
    let init_containers = scope.spec.init_containers.as_deref().unwrap_or_default();
    let old = scope.old;
    let converted =
        |containers: &[Container], seen: &[schedule::ContainerStatus], old: &Option<Vec<ContainerStatus>>| {
            let one = |container: &Container| {
                let seen = seen.iter().find(|status| status.name == container.name);
                let old = old.iter().flatten().find(|status| status.name == container.name);
                convert(scope, container, seen, old)
            };
            containers.iter().map(one).collect::<Vec<_>>()
        };
    let mut statuses = Statuses {
        init: converted(
            init_containers,
            &scope.seen.init_containers,
            &old.init_container_statuses,
        ),
        regular: converted(
            &scope.spec.containers,
            &scope.seen.containers,
            &old.container_statuses,
        ),
        ephemeral: ephemeral(scope),
    };
    if scope.seen.finished {
        finish(&mut statuses, init_containers);
    }
    statuses.regular.sort_by(|one, other| one.name.cmp(&other.name));
    statuses.ephemeral.sort_by(|one, other| one.name.cmp(&other.name));
    statuses
}

fn convert(
    scope: Scope<'_>,
    container: &Container,
    seen: Option<&schedule::ContainerStatus>,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let Some(seen) = seen else {
        return unseen(scope, container, old);
    };
    let length = message_length(scope);
    let found = !seen.container_id.is_empty();
    let state = seen.state.as_ref().and_then(|state| state.state.as_ref());
    let (resources, allocated_resources) = if found {
        resources(container, old)
    } else {
        (None, None)
    };
    ContainerStatus {
        name: container.name.clone(),
        image: first_of([&seen.image, container.image.as_deref().unwrap_or_default()]),
        image_id: seen.image_id.clone(),
        container_id: found.then(|| format!("{RUNTIME}{}", seen.container_id)),
        restart_count: i32::try_from(seen.restart_count).unwrap_or(i32::MAX),
        ready: seen.ready,
        started: Some(seen.started && matches!(state, Some(State::Running(_)))),
        state: Some(convert_state(state, scope, length)),
        last_state: seen
            .last_state
            .as_ref()
            .and_then(|state| state.state.as_ref())
            .map(|state| convert_state(Some(state), scope, length)),
        volume_mounts: mounts(container),
        resources,
        allocated_resources,
        ..ContainerStatus::default()
    }
}

fn first_of(texts: [&str; 2]) -> String {
    texts
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_default()
        .to_owned()
}

/// auraed says nothing of it yet, or nothing more: an end that was told stays.
fn unseen(scope: Scope<'_>, container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    match old {
        Some(old) if is_terminated(old) => old.clone(),
        _ => ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            restart_count: old.map_or(0, |old| old.restart_count),
            started: Some(false),
            state: Some(convert_state(None, scope, 0)),
            last_state: old.and_then(|old| old.last_state.clone()),
            volume_mounts: mounts(container),
            ..ContainerStatus::default()
        },
    }
}

/// Each container may use an equal part of what the messages of a pod may be long.
fn message_length(scope: Scope<'_>) -> usize {
    let spec = scope.spec;
    let extra = |list: Option<usize>| list.unwrap_or(0);
    let count = spec.containers.len()
        + extra(spec.init_containers.as_ref().map(Vec::len))
        + extra(spec.ephemeral_containers.as_ref().map(Vec::len));
    MESSAGES / count.max(1)
}

fn convert_state(state: Option<&State>, scope: Scope<'_>, length: usize) -> ContainerState {
    let mut result = ContainerState::default();
    match state {
        Some(State::Running(running)) => {
            let started_at = time::from_proto(running.started_at.as_ref());
            result.running = Some(ContainerStateRunning { started_at });
        }
        Some(State::Terminated(ended)) => result.terminated = Some(terminated(ended, length)),
        Some(State::Waiting(waiting)) if !waiting.reason.is_empty() => {
            result.waiting = Some(ContainerStateWaiting {
                reason: Some(waiting.reason.clone()),
                message: text(&waiting.message),
            });
        }
        Some(State::Waiting(_)) | None => {
            let has_init = scope
                .spec
                .init_containers
                .as_ref()
                .is_some_and(|list| !list.is_empty());
            let reason = if has_init {
                "PodInitializing"
            } else {
                "ContainerCreating"
            };
            result.waiting = Some(ContainerStateWaiting {
                reason: Some(reason.to_owned()),
                message: None,
            });
        }
    }
    result
}

fn terminated(ended: &schedule::Terminated, length: usize) -> ContainerStateTerminated {
    let end = (0..=length.min(ended.message.len()))
        .rev()
        .find(|end| ended.message.is_char_boundary(*end));
    ContainerStateTerminated {
        exit_code: ended.exit_code,
        reason: text(&ended.reason),
        message: text(&ended.message[..end.unwrap_or(0)]),
        started_at: time::from_proto(ended.started_at.as_ref()),
        finished_at: time::from_proto(ended.finished_at.as_ref()),
        container_id: text(&ended.container_id).map(|id| format!("{RUNTIME}{id}")),
        ..ContainerStateTerminated::default()
    }
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let one = |mount: &VolumeMount| {
        let read_only = mount.read_only == Some(true);
        VolumeMountStatus {
            mount_path: mount.mount_path.clone(),
            name: mount.name.clone(),
            read_only: read_only.then_some(true),
            recursive_read_only: read_only.then(|| "Disabled".to_owned()),
            ..VolumeMountStatus::default()
        }
    };
    super::not_empty(container.volume_mounts.iter().flatten().map(one).collect())
}

type Allocated = std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

/// What the container has. A running pod's resources do not change yet, so what was told first stays true.
fn resources(
    container: &Container,
    old: Option<&ContainerStatus>,
) -> (Option<ResourceRequirements>, Option<Allocated>) {
    match old.filter(|old| old.container_id.is_some() && old.resources.is_some()) {
        Some(old) => (old.resources.clone(), old.allocated_resources.clone()),
        None => {
            let given = container.resources.clone().unwrap_or_default();
            let allocated = given.requests.clone();
            (Some(given), allocated)
        }
    }
}

/// True where the spec now asks for other resources than the container was given.
pub(super) fn is_resized(container: &Container, status: &ContainerStatus) -> bool {
    let Some(given) = &status.resources else {
        return false;
    };
    let asked = container.resources.clone().unwrap_or_default();
    !same(asked.requests.as_ref(), given.requests.as_ref())
        || !same(asked.limits.as_ref(), given.limits.as_ref())
}

fn same(one: Option<&Allocated>, other: Option<&Allocated>) -> bool {
    let amount = |list: Option<&Allocated>, name| {
        list.and_then(|list| list.get(name))
            .and_then(|quantity| Amount::of(quantity).ok())
    };
    ["cpu", "memory"]
        .into_iter()
        .all(|name| amount(one, name) == amount(other, name))
}

/// Containers cannot be added yet; whoever waits for one learns of it at once.
fn ephemeral(scope: Scope<'_>) -> Vec<ContainerStatus> {
    let given = scope.spec.ephemeral_containers.iter().flatten();
    given
        .map(|container| ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            started: Some(false),
            state: Some(ContainerState {
                terminated: Some(ContainerStateTerminated {
                    exit_code: 128,
                    reason: Some("StartError".to_owned()),
                    message: Some("this node cannot add containers to a running pod yet".to_owned()),
                    ..ContainerStateTerminated::default()
                }),
                ..ContainerState::default()
            }),
            ..ContainerStatus::default()
        })
        .collect()
}

/// Nothing of the pod runs any more: every container that could have run has ended, if need be without a word how.
fn finish(statuses: &mut Statuses, init_containers: &[Container]) {
    let started = |status: &ContainerStatus| !is_waiting(status) || terminated_before(status);
    let last_done = statuses
        .init
        .last()
        .zip(init_containers.last())
        .is_some_and(|(status, container)| {
            let ends = [&status.state, &status.last_state]
                .into_iter()
                .flatten()
                .filter_map(|state| state.terminated.as_ref());
            if is_sidecar(container) {
                is_running(status) && status.started == Some(true)
            } else {
                ends.into_iter().any(|end| end.exit_code == 0)
            }
        });
    let initialized = statuses.init.is_empty() || last_done || statuses.regular.iter().any(started);
    if initialized {
        statuses.regular.iter_mut().for_each(end);
    }
    let attempted = statuses.init.iter().rposition(started).map_or(1, |last| last + 1);
    statuses.init.iter_mut().take(attempted).for_each(end);
}

fn end(status: &mut ContainerStatus) {
    status.ready = status.ready && is_terminated(status);
    status.started = Some(false);
    if is_terminated(status) {
        return;
    }
    if is_waiting(status) && terminated_before(status) {
        // It waited for its next start, which will not come.
        status.state = status.last_state.take();
        return;
    }
    status.state = Some(ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some("The container could not be located when the pod was terminated".to_owned()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    });
}
