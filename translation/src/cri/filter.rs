//! Filters of lists. All parts of a filter must fit; an empty one fits all.

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;

/// Sandboxes.
#[must_use]
pub fn sandboxes(filter: Option<cri::PodSandboxFilter>) -> aurae::ListSandboxesRequest {
    let filter = filter.unwrap_or_default();
    let state = filter
        .state
        .map_or(aurae::SandboxState::Unspecified, |wanted| match wanted.state() {
            cri::PodSandboxState::SandboxReady => aurae::SandboxState::Ready,
            cri::PodSandboxState::SandboxNotready => aurae::SandboxState::Stopped,
        });
    aurae::ListSandboxesRequest {
        id: filter.id,
        labels: filter.label_selector,
        state: state as i32,
    }
}

/// Containers.
#[must_use]
pub fn containers(filter: Option<cri::ContainerFilter>) -> aurae::ListContainersRequest {
    let filter = filter.unwrap_or_default();
    let state = filter.state.map_or(aurae::ContainerState::Unspecified, |wanted| {
        match wanted.state() {
            cri::ContainerState::ContainerCreated => aurae::ContainerState::Created,
            cri::ContainerState::ContainerRunning => aurae::ContainerState::Running,
            cri::ContainerState::ContainerExited => aurae::ContainerState::Exited,
            cri::ContainerState::ContainerUnknown => aurae::ContainerState::Unknown,
        }
    });
    aurae::ListContainersRequest {
        id: filter.id,
        sandbox: filter.pod_sandbox_id,
        labels: filter.label_selector,
        state: state as i32,
    }
}

/// Figures of containers.
#[must_use]
pub fn container_stats(filter: Option<cri::ContainerStatsFilter>) -> aurae::ListContainerStatsRequest {
    let filter = filter.unwrap_or_default();
    aurae::ListContainerStatsRequest {
        id: filter.id,
        sandbox: filter.pod_sandbox_id,
        labels: filter.label_selector,
    }
}

/// Figures of sandboxes.
#[must_use]
pub fn sandbox_stats(filter: Option<cri::PodSandboxStatsFilter>) -> aurae::ListSandboxStatsRequest {
    let filter = filter.unwrap_or_default();
    aurae::ListSandboxStatsRequest {
        id: filter.id,
        labels: filter.label_selector,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_zero_is_a_state_and_none_is_not() {
        let created = cri::ContainerFilter {
            state: Some(cri::ContainerStateValue { state: 0 }),
            ..Default::default()
        };
        assert_eq!(containers(Some(created)).state(), aurae::ContainerState::Created);
        assert_eq!(containers(None).state(), aurae::ContainerState::Unspecified);
        let ready = cri::PodSandboxFilter {
            state: Some(cri::PodSandboxStateValue { state: 0 }),
            ..Default::default()
        };
        assert_eq!(sandboxes(Some(ready)).state(), aurae::SandboxState::Ready);
        let stopped = cri::PodSandboxFilter {
            state: Some(cri::PodSandboxStateValue { state: 1 }),
            ..Default::default()
        };
        assert_eq!(sandboxes(Some(stopped)).state(), aurae::SandboxState::Stopped);
    }
}
