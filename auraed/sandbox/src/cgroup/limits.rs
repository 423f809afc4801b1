//! Limits and how they are written: one controller at a time, through `cgroups-rs`, on v1 or v2.

use std::path::{Path, PathBuf};

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;

use super::devices::DeviceRule;
use super::files::{errno, write};
use super::group::{Group, Level};
use super::mounts::Kind;
use super::{Controller, Error};

/// Shortest CPU quota that the kernel takes, in microseconds.
const MINIMUM_QUOTA_US: i64 = 1000;
/// The kernel's own CPU period, in microseconds.
const DEFAULT_PERIOD_US: u64 = 100_000;
/// Least and most CPU shares (kernel/sched/sched.h: MIN_SHARES, MAX_SHARES).
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// Limits of one group. Absent values are left as they are, which in a new group means unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Relative CPU weight in v1's measure, 2 to 262144 (1024 is one CPU); values outside are brought inside.
    pub cpu_shares: Option<u64>,
    /// CPU time in microseconds per period; brought up to 1000; 0 and negative values mean unlimited.
    pub cpu_quota_us: Option<i64>,
    /// The period in microseconds, 1000 to 1000000; 100000 if absent.
    pub cpu_period_us: Option<u64>,
    /// Memory in bytes, without any swap on top; 0 means unlimited.
    pub memory_bytes: Option<u64>,
    /// Number of processes and threads; 0 means unlimited.
    pub pids: Option<u64>,
    /// Kill the whole group when one of its processes is out of memory (v2 only).
    pub oom_group: bool,
    /// Device nodes.
    pub devices: Devices,
    /// CPUs to run on, as `0-2,7`; empty is as if absent.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to allocate from, as `0-1`; empty is as if absent.
    pub cpuset_mems: Option<String>,
    /// Memory and swap together, in bytes; negative means unlimited, 0 is as if absent.
    pub memory_swap_bytes: Option<i64>,
    /// Pages of each size, such as `2MB`: at most so many bytes of them.
    pub huge_pages: Vec<(String, u64)>,
    /// Files of the v2 group and what to write into them, last of all.
    pub unified: Vec<(String, String)>,
    /// A limit whose controller is missing is an error. Else those of CPU, memory and processes are skipped, as
    /// [`Tree::detect`](super::Tree::detect) has told; the others always are an error.
    pub strict: bool,
}

/// Device nodes that the processes of a group may open and make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Devices {
    /// As the parent group.
    #[default]
    Inherit,
    /// The usual ones (null, zero, full, random, urandom, tty, console, ptmx, pts, tun) and mknod of any.
    Standard,
    /// Those, and these.
    StandardAnd(Vec<DeviceRule>),
}

/// CPU shares as the v2 weight of pod and QoS groups: linear, as the kubelet writes it (1024 becomes 39).
pub(super) fn pod_weight(shares: u64) -> u64 {
    let shares = shares.clamp(*SHARES.start(), *SHARES.end());
    1 + (shares - 2) * 9999 / 262_142
}

/// CPU shares as the v2 weight of a container: a curve through minimum, default and maximum, as runc has it since
/// 1.3.2 (1024 becomes 100).
pub(super) fn container_weight(shares: u64) -> u64 {
    if shares <= *SHARES.start() {
        return 1;
    }
    if shares >= *SHARES.end() {
        return 10_000;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 262144")]
    let log = (shares as f64).log2();
    let weight = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 10000 on this range"
    )]
    let weight = weight as u64;
    weight
}

/// The quota that is written for an asked-for one: -1 is unlimited.
pub(super) fn effective_quota(quota_us: i64) -> i64 {
    if quota_us <= 0 {
        -1
    } else {
        quota_us.max(MINIMUM_QUOTA_US)
    }
}

/// Writes every limit that is present and whose controller is there. `fresh`: the group was made just now.
pub(super) fn apply(group: &Group, limits: &Limits, fresh: bool) -> Result<(), Error> {
    if let Some((kind, directory)) = group.place(Controller::Cpu) {
        apply_cpu(group, limits, kind, directory)?;
    }
    if let Some((kind, directory)) = group.place(Controller::Memory) {
        apply_memory(limits, kind, &directory)?;
        if kind == Kind::V2 && group.level == Level::Leaf {
            protect_from_swap(&directory)?;
        }
    }
    if let (Some(pids), Some((kind, directory))) = (limits.pids, group.place(Controller::Pids)) {
        let value = match pids {
            0 => MaxValue::Max,
            pids => MaxValue::Value(i64::try_from(pids).unwrap_or(i64::MAX)),
        };
        PidController::new(directory.clone(), PathBuf::new(), kind == Kind::V2)
            .set_pid_max(value)
            .map_err(refused("pids", &directory, pids))?;
    }
    match &limits.devices {
        Devices::Inherit => Ok(()),
        Devices::Standard => super::devices::restrict(group, &[], fresh),
        Devices::StandardAnd(rules) => super::devices::restrict(group, rules, fresh),
    }
}

fn apply_cpu(group: &Group, limits: &Limits, kind: Kind, directory: PathBuf) -> Result<(), Error> {
    let cpu = CpuController::new(directory.clone(), PathBuf::new(), kind == Kind::V2);
    if let Some(shares) = limits.cpu_shares {
        let value = match (kind, group.level) {
            (Kind::V1, _) => shares.clamp(*SHARES.start(), *SHARES.end()),
            (Kind::V2, Level::Leaf) => container_weight(shares),
            (Kind::V2, _) => pod_weight(shares),
        };
        cpu.set_shares(value)
            .map_err(refused("cpu shares", &directory, value))?;
    }
    if (limits.cpu_quota_us.is_none() && limits.cpu_period_us.is_none()) || !group.shared.cpu_quota {
        return Ok(());
    }
    let quota = limits.cpu_quota_us.map(effective_quota);
    let period = limits.cpu_period_us.unwrap_or(DEFAULT_PERIOD_US);
    let set = match (kind, quota) {
        (Kind::V2, quota) => cpu.set_cfs_quota_and_period(quota, Some(period)),
        (Kind::V1, None) => cpu.set_cfs_period(period),
        // Which order the kernel takes depends on the old values: quota over period must not exceed the parent's
        // at any moment.
        (Kind::V1, Some(quota)) => cpu
            .set_cfs_period(period)
            .and_then(|()| cpu.set_cfs_quota(quota))
            .or_else(|_| cpu.set_cfs_quota(quota).and_then(|()| cpu.set_cfs_period(period))),
    };
    set.map_err(refused(
        "cpu quota",
        &directory,
        format_args!("{} per {period} us", quota.unwrap_or(-1)),
    ))
}

fn apply_memory(limits: &Limits, kind: Kind, directory: &Path) -> Result<(), Error> {
    if let Some(bytes) = limits.memory_bytes {
        let memory = MemController::new(directory.to_owned(), PathBuf::new(), kind == Kind::V2);
        let value = if bytes == 0 {
            -1
        } else {
            i64::try_from(bytes).unwrap_or(i64::MAX)
        };
        let set = match kind {
            Kind::V2 => memory.set_limit(value),
            // With swap accounting, memory and swap together are limited as well and may never be less than memory.
            Kind::V1 if directory.join("memory.memsw.limit_in_bytes").exists() => memory
                .set_limit(value)
                .and_then(|()| memory.set_memswap_limit(value))
                .or_else(|_| {
                    memory
                        .set_memswap_limit(value)
                        .and_then(|()| memory.set_limit(value))
                }),
            Kind::V1 => memory.set_limit(value),
        };
        set.map_err(refused("memory", directory, bytes))?;
    }
    if limits.oom_group && kind == Kind::V2 {
        write(&directory.join("memory.oom.group"), "1")?;
    }
    Ok(())
}

// Absent where the kernel has no swap.
fn protect_from_swap(directory: &Path) -> Result<(), Error> {
    match write(&directory.join("memory.swap.max"), "0") {
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

fn refused(
    limit: &'static str,
    directory: &Path,
    value: impl std::fmt::Display,
) -> impl FnOnce(cgroups_rs::fs::error::Error) -> Error {
    let (path, value) = (directory.to_owned(), value.to_string());
    move |source| Error::Limit {
        limit,
        path,
        value,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_weight_is_the_kubelets() {
        for (shares, weight) in [
            (0, 1),
            (2, 1),
            (102, 4),
            (1024, 39),
            (2048, 79),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(pod_weight(shares), weight, "{shares}");
        }
    }

    #[test]
    fn container_weight_is_runcs() {
        for (shares, weight) in [
            (0, 1),
            (2, 1),
            (102, 17),
            (1024, 100),
            (2048, 174),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(container_weight(shares), weight, "{shares}");
        }
        assert!((3..262_144).is_sorted_by_key(container_weight));
    }

    #[test]
    fn quota_has_a_floor_and_an_off() {
        for (asked, written) in [(-1, -1), (0, -1), (1, 1000), (999, 1000), (50_000, 50_000)] {
            assert_eq!(effective_quota(asked), written);
        }
    }
}
