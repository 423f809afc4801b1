//! Requests and limits as the kernel's numbers.

use auraed_sandbox::cgroup::{Devices, Limits};
use auraed_types::pod::{Container, Resources};
use auraed_types::{Pod, QosClass};

/// The kernel's own CPU period, in microseconds.
const PERIOD_US: u64 = 100_000;
/// Who asks for nothing gets this share.
const LEAST_SHARES: u64 = 2;
/// How ready the kernel is to kill, by class; between the last two lie those that ask for some memory.
const OOM_GUARANTEED: i32 = -997;
const OOM_BEST_EFFORT: i32 = 1000;
const OOM_BURSTABLE: std::ops::RangeInclusive<i64> = 3..=999;

/// A container's limits.
pub(super) fn container_limits(container: &Container) -> Limits {
    let resources = &container.resources;
    Limits {
        cpu_shares: Some(shares(resources)),
        cpu_quota_us: resources.cpu_limit.map(quota),
        cpu_period_us: resources.cpu_limit.map(|_| PERIOD_US),
        memory_bytes: resources.memory_limit,
        pids: resources.pids_limit,
        oom_group: true,
        devices: if container.security.privileged {
            Devices::Inherit
        } else {
            Devices::Standard
        },
        ..Limits::default()
    }
}

/// A pod's own limits: its share is what its containers ask for together, its bounds hold where every one has one.
pub(crate) fn pod_limits(pod: &Pod) -> Limits {
    let limit = |of: fn(&Resources) -> Option<u64>| together(pod, of);
    let request = |resources: &Resources| resources.cpu_request.or(resources.cpu_limit).unwrap_or(0);
    let cpu = together(pod, |resources| {
        Some(resources.cpu_request.or(resources.cpu_limit).unwrap_or(0))
    });
    let asks = pod
        .all_containers()
        .any(|container| request(&container.resources) > 0);
    let cpu_limit = limit(|resources| resources.cpu_limit);
    Limits {
        cpu_shares: Some(if asks {
            millicores_to_shares(cpu.unwrap_or(0))
        } else {
            LEAST_SHARES
        }),
        cpu_quota_us: cpu_limit.map(quota),
        cpu_period_us: cpu_limit.map(|_| PERIOD_US),
        memory_bytes: limit(|resources| resources.memory_limit),
        ..Limits::default()
    }
}

/// What the pod's containers have together where each has it: those that run side by side add up, and each init
/// container runs beside the sidecars before it.
fn together(pod: &Pod, of: impl Fn(&Resources) -> Option<u64>) -> Option<u64> {
    let mut beside: u64 = 0;
    let mut most: u64 = 0;
    for container in &pod.init_containers {
        let own = of(&container.resources)?;
        most = most.max(beside.saturating_add(own));
        if container.sidecar {
            beside = beside.saturating_add(own);
        }
    }
    let mut regular = beside;
    for container in &pod.containers {
        regular = regular.saturating_add(of(&container.resources)?);
    }
    Some(most.max(regular))
}

fn shares(resources: &Resources) -> u64 {
    resources
        .cpu_request
        .or(resources.cpu_limit)
        .map_or(LEAST_SHARES, millicores_to_shares)
}

fn millicores_to_shares(millicores: u64) -> u64 {
    (millicores.saturating_mul(1024) / 1000).max(LEAST_SHARES)
}

fn quota(millicores: u64) -> i64 {
    i64::try_from(millicores.saturating_mul(PERIOD_US) / 1000).unwrap_or(i64::MAX)
}

/// Who is killed first when the node is out of memory: who asked for nothing, then who uses most beyond what it asked for.
pub(super) fn oom_score_adj(pod: &Pod, container: &Container, node_memory_bytes: u64) -> i32 {
    match pod.qos_class() {
        QosClass::Guaranteed => OOM_GUARANTEED,
        QosClass::BestEffort => OOM_BEST_EFFORT,
        QosClass::Burstable => {
            let request = container.resources.memory_request.unwrap_or(0);
            let part = u128::from(request) * 1000 / u128::from(node_memory_bytes.max(1));
            let score = 1000 - i64::try_from(part).unwrap_or(1000);
            let score = score.clamp(*OOM_BURSTABLE.start(), *OOM_BURSTABLE.end());
            i32::try_from(score).unwrap_or(OOM_BEST_EFFORT)
        }
    }
}
