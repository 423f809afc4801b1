//! Metrics of sandboxes and containers, under cAdvisor's names, so that dashboards which know those go on working.
//!
//! The list of descriptors is what there is, all of it measured: [`table`] holds each with the function that reads it.
//! Labels are `container`, `id`, `image`, `name`, `namespace` and `pod`, as a kubelet with cAdvisor has them, and what a
//! metric adds. A metric of the whole pod has an empty `container` and the name `POD`. The CRI's values are whole
//! numbers: seconds are cut.

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;

use super::time;

mod table;

use table::{Definition, TABLE};

/// Labels that every metric has, in their order.
const LABELS: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];

/// What a metric is read from.
struct Reading<'a> {
    cgroup: &'a aurae::CgroupStats,
    /// Nanoseconds since 1970.
    now: i64,
    /// Nanoseconds since 1970; 0 if it has not.
    started: i64,
    of: Of<'a>,
}

enum Of<'a> {
    Sandbox {
        interfaces: &'a [aurae::InterfaceStats],
    },
    Container {
        limits: &'a aurae::LinuxResources,
        layer: Option<&'a aurae::FilesystemUsage>,
    },
}

/// What [`sandbox`] will answer with: fixed for the life of this program.
#[must_use]
pub fn descriptors() -> Vec<cri::MetricDescriptor> {
    TABLE.iter().map(Definition::descriptor).collect()
}

/// All metrics of a sandbox and its containers.
#[must_use]
pub fn sandbox(stats: &aurae::SandboxStats) -> cri::PodSandboxMetrics {
    let status = stats.sandbox.clone().unwrap_or_default();
    let spec = status.spec.unwrap_or_default();
    let cgroup = stats.cgroup.unwrap_or_default();
    let reading = Reading {
        cgroup: &cgroup,
        now: time::nanoseconds(stats.time.as_ref()),
        started: time::nanoseconds(status.created_at.as_ref()),
        of: Of::Sandbox {
            interfaces: &stats.interfaces,
        },
    };
    let labels = ["", &spec.id, "", "POD", &spec.namespace, &spec.name];
    cri::PodSandboxMetrics {
        metrics: read(&reading, labels),
        container_metrics: stats.containers.iter().map(|one| container(one, &spec)).collect(),
        pod_sandbox_id: spec.id,
    }
}

fn container(stats: &aurae::ContainerStats, pod: &aurae::SandboxSpec) -> cri::ContainerMetrics {
    let status = stats.container.clone().unwrap_or_default();
    let spec = status.spec.unwrap_or_default();
    let cgroup = stats.cgroup.unwrap_or_default();
    let limits = status.resources.unwrap_or_default();
    let reading = Reading {
        cgroup: &cgroup,
        now: time::nanoseconds(stats.time.as_ref()),
        started: time::nanoseconds(status.started_at.as_ref()),
        of: Of::Container {
            limits: &limits,
            layer: stats.writable_layer.as_ref(),
        },
    };
    let image = if spec.image_shown.is_empty() {
        &spec.image
    } else {
        &spec.image_shown
    };
    let labels = [&spec.name, &spec.id, image, &spec.name, &pod.namespace, &pod.name];
    cri::ContainerMetrics {
        metrics: read(&reading, labels.map(String::as_str)),
        container_id: spec.id,
    }
}

fn read(reading: &Reading<'_>, labels: [&str; LABELS.len()]) -> Vec<cri::Metric> {
    let mut metrics = Vec::with_capacity(TABLE.len());
    for definition in TABLE {
        for (more, value) in (definition.read)(reading) {
            metrics.push(cri::Metric {
                name: definition.name.to_owned(),
                // Gathered for this call.
                timestamp: 0,
                metric_type: definition.kind as i32,
                label_values: labels
                    .iter()
                    .map(|label| (*label).to_owned())
                    .chain(more)
                    .collect(),
                value: Some(cri::UInt64Value { value }),
            });
        }
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn full() -> aurae::SandboxStats {
        let line = || {
            Some(aurae::PressureLine {
                total: 2_500_000_000,
                ..Default::default()
            })
        };
        let pressure = || {
            Some(aurae::Pressure {
                some: line(),
                full: line(),
            })
        };
        let cgroup = aurae::CgroupStats {
            cpu_usage_nanoseconds: 3_900_000_000,
            swap_usage_bytes: Some(1),
            cpu_pressure: pressure(),
            memory_pressure: pressure(),
            io_pressure: pressure(),
            ..Default::default()
        };
        let container = aurae::ContainerStats {
            container: Some(aurae::ContainerStatus {
                started_at: Some(prost_types::Timestamp::default()),
                resources: Some(aurae::LinuxResources {
                    cpu_shares: Some(2),
                    cpu_quota_us: Some(1000),
                    cpu_period_us: Some(1000),
                    memory_bytes: Some(1 << 20),
                    memory_swap_bytes: Some(1 << 21),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            cgroup: Some(cgroup),
            writable_layer: Some(aurae::FilesystemUsage::default()),
            ..Default::default()
        };
        aurae::SandboxStats {
            cgroup: Some(cgroup),
            interfaces: vec![aurae::InterfaceStats::default()],
            containers: vec![container],
            ..Default::default()
        }
    }

    #[test]
    fn every_metric_has_a_descriptor_with_as_many_labels() {
        let labels: BTreeMap<String, usize> = descriptors()
            .into_iter()
            .map(|one| (one.name, one.label_keys.len()))
            .collect();
        let metrics = sandbox(&full());
        let of_containers = metrics.container_metrics.into_iter().flat_map(|one| one.metrics);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for metric in metrics.metrics.into_iter().chain(of_containers) {
            assert_eq!(labels[&metric.name], metric.label_values.len(), "{}", metric.name);
            *seen.entry(metric.name).or_default() += 1;
        }
        let described: Vec<_> = labels.keys().collect();
        assert_eq!(
            seen.keys().collect::<Vec<_>>(),
            described,
            "a metric that nothing fills"
        );
    }

    #[test]
    fn seconds_are_whole() {
        let metrics = sandbox(&full()).metrics;
        let cpu = metrics
            .iter()
            .find(|metric| metric.name == "container_cpu_usage_seconds_total")
            .unwrap();
        assert_eq!(cpu.value.unwrap().value, 3);
        assert_eq!(cpu.label_values, ["", "", "", "POD", "", "", "total"]);
    }
}
