//! The class of service of a pod, from its requests and limits.

use crate::pod::{Pod, Resources};

/// How a pod is treated when the node runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QosClass {
    /// Every container has limits for processors and memory, equal to its requests.
    Guaranteed,
    /// Something is asked for or bounded.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl QosClass {
    /// The class of a pod. A missing request counts as equal to its limit; a zero counts as absent.
    pub fn of(pod: &Pod) -> QosClass {
        let set = |value: Option<u64>| value.filter(|&value| value > 0);
        let named = |resources: &Resources| {
            [
                resources.cpu_request,
                resources.cpu_limit,
                resources.memory_request,
                resources.memory_limit,
            ]
            .into_iter()
            .any(|value| set(value).is_some())
        };
        let bound = |request: Option<u64>, limit: Option<u64>| match (set(request), set(limit)) {
            (Some(request), Some(limit)) => request == limit,
            (None, limit) => limit.is_some(),
            (Some(_), None) => false,
        };
        if !pod.all_containers().any(|container| named(&container.resources)) {
            return QosClass::BestEffort;
        }
        let guaranteed = pod.all_containers().all(|container| {
            let resources = &container.resources;
            bound(resources.cpu_request, resources.cpu_limit)
                && bound(resources.memory_request, resources.memory_limit)
        });
        if guaranteed {
            QosClass::Guaranteed
        } else {
            QosClass::Burstable
        }
    }

    /// The name as users know it.
    pub fn as_str(self) -> &'static str {
        match self {
            QosClass::Guaranteed => "Guaranteed",
            QosClass::Burstable => "Burstable",
            QosClass::BestEffort => "BestEffort",
        }
    }
}
