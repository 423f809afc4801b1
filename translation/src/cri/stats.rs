//! What sandboxes and containers use.

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;

use super::{container, image, sandbox, time};

/// The interface that carries the pod's address, under every network plugin.
const DEFAULT_INTERFACE: &str = "eth0";

/// Figures of one container.
#[must_use]
pub fn container(stats: aurae::ContainerStats) -> cri::ContainerStats {
    let status = stats.container.unwrap_or_default();
    let spec = status.spec.unwrap_or_default();
    let now = time::nanoseconds(stats.time.as_ref());
    let cgroup = stats.cgroup.unwrap_or_default();
    let limits = status.resources.unwrap_or_default();
    cri::ContainerStats {
        attributes: Some(cri::ContainerAttributes {
            metadata: Some(container::metadata(&spec)),
            id: spec.id,
            labels: spec.labels,
            annotations: spec.annotations,
        }),
        cpu: Some(cpu(&cgroup, now)),
        memory: Some(memory(&cgroup, now)),
        writable_layer: stats
            .writable_layer
            .as_ref()
            .map(|usage| image::file_system(usage, now)),
        swap: swap(&cgroup, &limits, now),
        io: io(&cgroup, now),
    }
}

/// Figures of one sandbox, with its containers'.
#[must_use]
pub fn sandbox(stats: aurae::SandboxStats) -> cri::PodSandboxStats {
    let spec = stats.sandbox.and_then(|status| status.spec).unwrap_or_default();
    let now = time::nanoseconds(stats.time.as_ref());
    let cgroup = stats.cgroup.unwrap_or_default();
    cri::PodSandboxStats {
        attributes: Some(cri::PodSandboxAttributes {
            metadata: Some(sandbox::metadata(&spec)),
            id: spec.id,
            labels: spec.labels,
            annotations: spec.annotations,
        }),
        linux: Some(cri::LinuxPodSandboxStats {
            cpu: Some(cpu(&cgroup, now)),
            memory: Some(memory(&cgroup, now)),
            network: network(&stats.interfaces, now),
            process: Some(cri::ProcessUsage {
                timestamp: now,
                process_count: value(stats.processes),
            }),
            containers: stats.containers.into_iter().map(container).collect(),
            io: io(&cgroup, now),
        }),
        windows: None,
    }
}

fn cpu(cgroup: &aurae::CgroupStats, now: i64) -> cri::CpuUsage {
    cri::CpuUsage {
        timestamp: now,
        usage_core_nano_seconds: value(cgroup.cpu_usage_nanoseconds),
        // Until there is a second look the caller makes its own of the sum.
        usage_nano_cores: (cgroup.cpu_usage_nanocores != 0)
            .then_some(cgroup.cpu_usage_nanocores)
            .and_then(value),
        psi: pressure(cgroup.cpu_pressure.as_ref()),
    }
}

fn memory(cgroup: &aurae::CgroupStats, now: i64) -> cri::MemoryUsage {
    cri::MemoryUsage {
        timestamp: now,
        working_set_bytes: value(cgroup.memory_working_set_bytes),
        available_bytes: cgroup
            .memory_limit_bytes
            .and_then(|limit| value(limit.saturating_sub(cgroup.memory_working_set_bytes))),
        usage_bytes: value(cgroup.memory_usage_bytes),
        rss_bytes: value(cgroup.memory_rss_bytes),
        page_faults: value(cgroup.page_faults),
        major_page_faults: value(cgroup.major_page_faults),
        psi: pressure(cgroup.memory_pressure.as_ref()),
    }
}

/// What is available is known where memory and swap together are bounded.
fn swap(cgroup: &aurae::CgroupStats, limits: &aurae::LinuxResources, now: i64) -> Option<cri::SwapUsage> {
    let used = cgroup.swap_usage_bytes?;
    let limit = match (limits.memory_bytes, limits.memory_swap_bytes) {
        (Some(memory @ 0..), Some(both)) => u64::try_from(both.saturating_sub(memory)).ok(),
        _ => None,
    };
    Some(cri::SwapUsage {
        timestamp: now,
        swap_available_bytes: limit.and_then(|limit| value(limit.saturating_sub(used))),
        swap_usage_bytes: value(used),
    })
}

fn io(cgroup: &aurae::CgroupStats, now: i64) -> Option<cri::IoUsage> {
    Some(cri::IoUsage {
        timestamp: now,
        psi: Some(pressure(cgroup.io_pressure.as_ref())?),
    })
}

fn network(interfaces: &[aurae::InterfaceStats], now: i64) -> Option<cri::NetworkUsage> {
    let default = interfaces
        .iter()
        .position(|interface| interface.name == DEFAULT_INTERFACE)
        .or((!interfaces.is_empty()).then_some(0))?;
    let translate = |interface: &aurae::InterfaceStats| cri::NetworkInterfaceUsage {
        name: interface.name.clone(),
        rx_bytes: value(interface.received_bytes),
        rx_errors: value(interface.received_errors),
        tx_bytes: value(interface.sent_bytes),
        tx_errors: value(interface.sent_errors),
    };
    Some(cri::NetworkUsage {
        timestamp: now,
        default_interface: interfaces.get(default).map(translate),
        interfaces: interfaces
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != default)
            .map(|(_, interface)| translate(interface))
            .collect(),
    })
}

fn pressure(pressure: Option<&aurae::Pressure>) -> Option<cri::PsiStats> {
    let pressure = pressure?;
    let line = |line: &Option<aurae::PressureLine>| {
        line.as_ref().map(|line| cri::PsiData {
            total: line.total,
            avg10: line.avg10,
            avg60: line.avg60,
            avg300: line.avg300,
        })
    };
    Some(cri::PsiStats {
        full: line(&pressure.full),
        some: line(&pressure.some),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "the CRI's numbers are optional messages")]
fn value(value: u64) -> Option<cri::UInt64Value> {
    Some(cri::UInt64Value { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: Option<cri::UInt64Value>) -> Option<u64> {
        value.map(|value| value.value)
    }

    #[test]
    fn what_is_available_needs_a_limit() {
        let cgroup = aurae::CgroupStats {
            memory_working_set_bytes: 30,
            memory_limit_bytes: Some(100),
            swap_usage_bytes: Some(5),
            ..Default::default()
        };
        assert_eq!(number(memory(&cgroup, 1).available_bytes), Some(70));
        let limits = aurae::LinuxResources {
            memory_bytes: Some(100),
            memory_swap_bytes: Some(150),
            ..Default::default()
        };
        let bounded = swap(&cgroup, &limits, 1).unwrap();
        assert_eq!(number(bounded.swap_available_bytes), Some(45));
        let unlimited = aurae::LinuxResources {
            memory_swap_bytes: Some(-1),
            ..limits
        };
        let unlimited = swap(&cgroup, &unlimited, 1).unwrap();
        assert_eq!(number(unlimited.swap_available_bytes), None);
        let unbounded = aurae::CgroupStats {
            memory_limit_bytes: None,
            ..cgroup
        };
        assert_eq!(number(memory(&unbounded, 1).available_bytes), None);
    }

    #[test]
    fn the_pods_interface_stands_apart() {
        let interface = |name: &str| aurae::InterfaceStats {
            name: name.into(),
            ..Default::default()
        };
        let usage = network(&[interface("net1"), interface("eth0")], 1).unwrap();
        assert_eq!(usage.default_interface.unwrap().name, "eth0");
        assert_eq!(usage.interfaces.len(), 1);
        assert_eq!(network(&[], 1), None);
        let other = network(&[interface("net1")], 1).unwrap();
        assert_eq!(other.default_interface.unwrap().name, "net1");
    }
}
