//! Finds the pod, the container and the run that somebody means.

use std::sync::Arc;

use auraed_types::status::{ContainerState, ContainerStatus};
use auraed_types::{PodId, PodStatus};

use super::error::EngineError;
use super::watch::Statuses;

/// A pod by id, `namespace/name`, or a name that is unique among namespaces. Of pods of one namespace and name the one
/// that is not ending wins, then the newest.
pub(super) fn find(statuses: &Statuses, reference: &str) -> Result<Arc<PodStatus>, EngineError> {
    if let Ok(id) = PodId::new(reference)
        && let Some(status) = statuses.get(&id)
    {
        return Ok(status);
    }
    let (namespace, name) = match reference.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, reference),
    };
    let means = |status: &Arc<PodStatus>| {
        status.name == *name && namespace.is_none_or(|namespace| status.namespace == *namespace)
    };
    let mut candidates: Vec<_> = statuses.list().into_iter().filter(means).collect();
    if candidates
        .windows(2)
        .any(|pair| pair[0].namespace != pair[1].namespace)
    {
        let candidates = candidates
            .iter()
            .map(|status| format!("{} ({})", status.id, status.namespace))
            .collect();
        return Err(EngineError::Ambiguous {
            reference: reference.to_owned(),
            candidates,
        });
    }
    candidates.sort_by_key(|status| (!status.stopping && !status.finished, status.started_at));
    candidates.pop().ok_or_else(|| EngineError::PodNotFound {
        reference: reference.to_owned(),
    })
}

/// A container's status; the pod's first container where none is named.
pub(super) fn container_of<'a>(
    status: &'a PodStatus,
    name: &str,
) -> Result<&'a ContainerStatus, EngineError> {
    let mut all = status.init_containers.iter().chain(&status.containers);
    let found = if name.is_empty() {
        status.containers.first()
    } else {
        all.find(|container| container.name == *name)
    };
    found.ok_or_else(|| EngineError::ContainerNotFound {
        pod: status.name.to_string(),
        container: name.to_owned(),
    })
}

/// The run whose log is asked for, and whether it goes on.
pub(super) fn logged_run(
    status: &PodStatus,
    container: &ContainerStatus,
    previous: bool,
) -> Result<(u32, bool), EngineError> {
    let (pod, name) = (status.name.to_string(), container.name.to_string());
    match (&container.state, &container.last_state, previous) {
        // One that waits to be started again: its newest run is the one before, and the only one to show.
        (ContainerState::Waiting { .. }, Some(_), _) => Ok((container.restart_count, false)),
        (ContainerState::Waiting { reason, .. }, None, false) => Err(EngineError::ContainerWaiting {
            pod,
            container: name,
            reason: match reason.as_str() {
                "ErrImagePull" => "image can't be pulled".to_owned(),
                "ImagePullBackOff" => "trying and failing to pull image".to_owned(),
                _ => reason.clone(),
            },
        }),
        (ContainerState::Running { .. }, _, false) => Ok((container.restart_count, true)),
        (ContainerState::Terminated(end), _, false) if end.container_id.is_none() => {
            Err(EngineError::ContainerWaiting {
                pod,
                container: name,
                reason: end.reason.clone(),
            })
        }
        (ContainerState::Terminated(_), _, false) => Ok((container.restart_count, false)),
        (_, last, true) => match (last, container.restart_count.checked_sub(1)) {
            (Some(_), Some(attempt)) => Ok((attempt, false)),
            _ => Err(EngineError::NoPreviousRun { pod, container: name }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use auraed_types::Pod;
    use auraed_types::status::Terminated;

    fn statuses(pods: &[(&str, &str, &str, i64, bool)]) -> Statuses {
        let statuses = Statuses::default();
        for &(id, namespace, name, started, stopping) in pods {
            let message = auraed_api::schedule::v0::Pod {
                id: id.into(),
                name: name.into(),
                namespace: namespace.into(),
                containers: vec![auraed_api::runtime::v0::Container {
                    name: "c".into(),
                    image: "i".into(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            let started = jiff::Timestamp::from_second(started).unwrap();
            let now = crate::schedule::moment::Moment {
                wall: started,
                steady: jiff::SignedDuration::ZERO,
            };
            let machine =
                crate::schedule::machine::Machine::new(Arc::new(Pod::try_from(message).unwrap()), now);
            let status = PodStatus {
                stopping,
                ..machine.status(now, 1)
            };
            statuses.publish(Arc::new(status));
        }
        statuses
    }

    fn found(statuses: &Statuses, reference: &str) -> String {
        find(statuses, reference).map_or_else(|error| error.to_string(), |status| status.id.to_string())
    }

    #[test]
    fn pods_are_found_by_id_and_by_name() {
        let all = statuses(&[
            ("1", "a", "web", 1, false),
            ("2", "b", "web", 2, false),
            ("3", "b", "db", 3, false),
        ]);
        assert_eq!(found(&all, "1"), "1");
        assert_eq!(found(&all, "b/web"), "2");
        assert_eq!(found(&all, "db"), "3");
        assert!(found(&all, "web").contains("give namespace/name or the id of one of 1 (a), 2 (b)"));
        assert_eq!(found(&all, "nobody"), "pod \"nobody\" not found");
    }

    #[test]
    fn of_one_name_the_living_one_is_meant() {
        let all = statuses(&[("1", "a", "web", 1, false), ("2", "a", "web", 2, true)]);
        assert_eq!(found(&all, "web"), "1");
        let all = statuses(&[("1", "a", "web", 1, true), ("2", "a", "web", 2, true)]);
        assert_eq!(found(&all, "a/web"), "2");
    }

    #[test]
    fn the_run_whose_log_is_meant_follows_the_state() {
        let all = statuses(&[("1", "a", "web", 1, false)]);
        let mut status = PodStatus::clone(&find(&all, "1").unwrap());
        let mut run = |state: ContainerState, last: Option<Terminated>, restarts, previous| {
            status.containers[0] = ContainerStatus {
                state,
                last_state: last,
                restart_count: restarts,
                ..status.containers[0].clone()
            };
            let container = container_of(&status, "").unwrap();
            logged_run(&status, container, previous).map_err(|error| error.to_string())
        };
        let end = Terminated {
            exit_code: 1,
            signal: 0,
            reason: "Error".into(),
            message: String::new(),
            started_at: None,
            finished_at: None,
            container_id: Some(auraed_types::ContainerId::new("0".repeat(64)).unwrap()),
        };
        let ended = || Some(end.clone());
        let waiting = |reason: &str| ContainerState::Waiting {
            reason: reason.into(),
            message: String::new(),
        };
        let running = || ContainerState::Running {
            started_at: jiff::Timestamp::UNIX_EPOCH,
        };
        assert_eq!(run(running(), None, 0, false), Ok((0, true)));
        assert_eq!(run(running(), ended(), 3, true), Ok((2, false)));
        assert_eq!(
            run(waiting("CrashLoopBackOff"), ended(), 3, false),
            Ok((3, false))
        );
        assert_eq!(run(waiting("CrashLoopBackOff"), ended(), 3, true), Ok((3, false)));
        assert_eq!(
            run(ContainerState::Terminated(end.clone()), None, 0, false),
            Ok((0, false))
        );
        assert_eq!(
            run(running(), None, 0, true),
            Err("previous terminated container \"c\" in pod \"web\" not found".into())
        );
        assert_eq!(
            run(waiting("ImagePullBackOff"), None, 0, false),
            Err(
                "container \"c\" in pod \"web\" is waiting to start: trying and failing to pull image".into()
            )
        );
        let lost = Terminated {
            container_id: None,
            ..end.clone()
        };
        assert!(run(ContainerState::Terminated(lost), None, 0, false).is_err());
        assert!(container_of(&find(&all, "1").unwrap(), "other").is_err());
    }
}
