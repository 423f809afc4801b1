//! Each metric: its name, what it says, and how it is read.

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;
use cri_api::v1::MetricType::{self, Counter, Gauge};

use super::{LABELS, Of, Reading};

const SECOND: u64 = 1_000_000_000;

/// Values of the labels that a metric adds, and its own.
type Values = Vec<(Vec<String>, u64)>;

pub(super) struct Definition {
    pub(super) name: &'static str,
    help: &'static str,
    pub(super) kind: MetricType,
    /// Labels beside those that all have.
    labels: &'static [&'static str],
    pub(super) read: fn(&Reading<'_>) -> Values,
}

impl Definition {
    pub(super) fn descriptor(&self) -> cri::MetricDescriptor {
        cri::MetricDescriptor {
            name: self.name.to_owned(),
            help: self.help.to_owned(),
            label_keys: LABELS
                .iter()
                .chain(self.labels)
                .map(|label| (*label).to_owned())
                .collect(),
        }
    }
}

const fn metric(
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    read: fn(&Reading<'_>) -> Values,
) -> Definition {
    Definition {
        name,
        help,
        kind,
        labels,
        read,
    }
}

/// The metrics of the interface.
pub(super) static TABLE: &[Definition] = &[
    metric(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        Counter,
        &["cpu"],
        |reading| {
            vec![(
                vec!["total".to_owned()],
                reading.cgroup.cpu_usage_nanoseconds / SECOND,
            )]
        },
    ),
    metric(
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed.",
        Gauge,
        &[],
        |reading| one(reading.cgroup.memory_usage_bytes),
    ),
    metric(
        "container_memory_working_set_bytes",
        "Current working set in bytes.",
        Gauge,
        &[],
        |reading| one(reading.cgroup.memory_working_set_bytes),
    ),
    metric(
        "container_memory_rss",
        "Size of RSS in bytes.",
        Gauge,
        &[],
        |reading| one(reading.cgroup.memory_rss_bytes),
    ),
    metric(
        "container_memory_swap",
        "Container swap usage in bytes.",
        Gauge,
        &[],
        |reading| maybe(reading.cgroup.swap_usage_bytes),
    ),
    metric(
        "container_memory_failures_total",
        "Cumulative count of memory allocation failures.",
        Counter,
        &["failure_type", "scope"],
        failures,
    ),
    metric(
        "container_oom_events_total",
        "Count of out of memory events observed for the container.",
        Counter,
        &[],
        |reading| one(reading.cgroup.oom_kills),
    ),
    metric(
        "container_processes",
        "Number of processes running inside the container.",
        Gauge,
        &[],
        |reading| one(reading.cgroup.processes),
    ),
    metric(
        "container_pressure_cpu_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to CPU congestion.",
        Counter,
        &[],
        |reading| waiting(reading.cgroup.cpu_pressure.as_ref()),
    ),
    metric(
        "container_pressure_cpu_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        Counter,
        &[],
        |reading| stalled(reading.cgroup.cpu_pressure.as_ref()),
    ),
    metric(
        "container_pressure_memory_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to memory congestion.",
        Counter,
        &[],
        |reading| waiting(reading.cgroup.memory_pressure.as_ref()),
    ),
    metric(
        "container_pressure_memory_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        Counter,
        &[],
        |reading| stalled(reading.cgroup.memory_pressure.as_ref()),
    ),
    metric(
        "container_pressure_io_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to IO congestion.",
        Counter,
        &[],
        |reading| waiting(reading.cgroup.io_pressure.as_ref()),
    ),
    metric(
        "container_pressure_io_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        Counter,
        &[],
        |reading| stalled(reading.cgroup.io_pressure.as_ref()),
    ),
    metric(
        "container_last_seen",
        "Last time a container was seen by the exporter.",
        Gauge,
        &[],
        |reading| one(seconds(reading.now)),
    ),
    metric(
        "container_start_time_seconds",
        "Start time of the container since unix epoch in seconds.",
        Gauge,
        &[],
        |reading| one(seconds(reading.started)),
    ),
    metric(
        "container_fs_usage_bytes",
        "Number of bytes that are consumed by the container on this filesystem.",
        Gauge,
        &[],
        |reading| match &reading.of {
            Of::Container { layer, .. } => maybe(layer.map(|layer| layer.used_bytes)),
            Of::Sandbox { .. } => Vec::new(),
        },
    ),
    metric(
        "container_spec_cpu_period",
        "CPU period of the container.",
        Gauge,
        &[],
        |reading| limit(reading, |limits| limits.cpu_period_us),
    ),
    metric(
        "container_spec_cpu_quota",
        "CPU quota of the container.",
        Gauge,
        &[],
        |reading| limit(reading, |limits| positive(limits.cpu_quota_us)),
    ),
    metric(
        "container_spec_cpu_shares",
        "CPU share of the container.",
        Gauge,
        &[],
        |reading| limit(reading, |limits| limits.cpu_shares),
    ),
    metric(
        "container_spec_memory_limit_bytes",
        "Memory limit for the container.",
        Gauge,
        &[],
        |reading| limit(reading, |limits| positive(limits.memory_bytes)),
    ),
    metric(
        "container_spec_memory_swap_limit_bytes",
        "Memory swap limit for the container.",
        Gauge,
        &[],
        |reading| limit(reading, |limits| positive(limits.memory_swap_bytes)),
    ),
    metric(
        "container_network_receive_bytes_total",
        "Cumulative count of bytes received.",
        Counter,
        &["interface"],
        |reading| interfaces(reading, |interface| interface.received_bytes),
    ),
    metric(
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving.",
        Counter,
        &["interface"],
        |reading| interfaces(reading, |interface| interface.received_errors),
    ),
    metric(
        "container_network_transmit_bytes_total",
        "Cumulative count of bytes transmitted.",
        Counter,
        &["interface"],
        |reading| interfaces(reading, |interface| interface.sent_bytes),
    ),
    metric(
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting.",
        Counter,
        &["interface"],
        |reading| interfaces(reading, |interface| interface.sent_errors),
    ),
];

fn one(value: u64) -> Values {
    vec![(Vec::new(), value)]
}

fn maybe(value: Option<u64>) -> Values {
    value.map(one).unwrap_or_default()
}

fn seconds(nanoseconds: i64) -> u64 {
    u64::try_from(nanoseconds).unwrap_or_default() / SECOND
}

/// A negative one is no limit.
fn positive(value: Option<i64>) -> Option<u64> {
    u64::try_from(value?).ok()
}

fn failures(reading: &Reading<'_>) -> Values {
    let of = |kind: &str, count| (vec![kind.to_owned(), "container".to_owned()], count);
    vec![
        of("pgfault", reading.cgroup.page_faults),
        of("pgmajfault", reading.cgroup.major_page_faults),
    ]
}

fn waiting(pressure: Option<&aurae::Pressure>) -> Values {
    maybe(pressure.and_then(|pressure| Some(pressure.some.as_ref()?.total / SECOND)))
}

fn stalled(pressure: Option<&aurae::Pressure>) -> Values {
    maybe(pressure.and_then(|pressure| Some(pressure.full.as_ref()?.total / SECOND)))
}

fn limit(reading: &Reading<'_>, value: fn(&aurae::LinuxResources) -> Option<u64>) -> Values {
    match &reading.of {
        Of::Container { limits, .. } => maybe(value(limits)),
        Of::Sandbox { .. } => Vec::new(),
    }
}

fn interfaces(reading: &Reading<'_>, value: fn(&aurae::InterfaceStats) -> u64) -> Values {
    match &reading.of {
        Of::Sandbox { interfaces } => interfaces
            .iter()
            .map(|interface| (vec![interface.name.clone()], value(interface)))
            .collect(),
        Of::Container { .. } => Vec::new(),
    }
}
