//! CPU: shares, quota and period.

use std::path::{Path, PathBuf};

use cgroups_rs::fs::cpu::CpuController;

use super::super::files::{read, write as write_file};
use super::super::group::{Group, Level};
use super::super::mounts::Kind;
use super::super::{Controller, Error};
use super::{Limits, reason, refused};

/// The shortest quota that the kernel takes, in microseconds.
const MINIMUM_QUOTA_US: i64 = 1000;
/// Least and most CPU shares (kernel/sched/sched.h: MIN_SHARES, MAX_SHARES).
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// CPU shares as the v2 weight of pod and QoS groups: linear, as the kubelet writes it (1024 becomes 39).
fn pod_weight(shares: u64) -> u64 {
    let shares = shares.clamp(*SHARES.start(), *SHARES.end());
    1 + (shares - 2) * 9999 / 262_142
}

/// CPU shares as the v2 weight of a container: a curve through minimum, default and maximum, as runc has it since
/// 1.3.2 (1024 becomes 100).
fn container_weight(shares: u64) -> u64 {
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
fn effective_quota(quota_us: i64) -> i64 {
    if quota_us <= 0 {
        -1
    } else {
        quota_us.max(MINIMUM_QUOTA_US)
    }
}

pub(super) fn write(group: &Group, limits: &Limits) -> Result<(), Error> {
    let quota = limits.cpu_quota_us.map(effective_quota);
    let period = limits.cpu_period_us.filter(|period| *period > 0);
    let Some((kind, directory)) = group.place(Controller::Cpu) else {
        return if limits.cpu_shares.is_some() || quota.is_some_and(|quota| quota > 0) {
            limits.without("CPU shares and quota", Controller::Cpu)
        } else {
            Ok(())
        };
    };
    if let Some(shares) = limits.cpu_shares {
        let value = match (kind, group.level) {
            (Kind::V1, _) => shares.clamp(*SHARES.start(), *SHARES.end()),
            (Kind::V2, Level::Leaf) => container_weight(shares),
            (Kind::V2, _) => pod_weight(shares),
        };
        CpuController::new(directory.clone(), PathBuf::new(), kind == Kind::V2)
            .set_shares(value)
            .map_err(refused("cpu shares", &directory, value))?;
    }
    if quota.is_none() && period.is_none() {
        return Ok(());
    }
    if !group.shared.cpu_quota {
        return if quota.is_some_and(|quota| quota > 0) {
            limits.without("a CPU quota", Controller::CpuQuota)
        } else {
            Ok(())
        };
    }
    let written = match kind {
        Kind::V1 => write_v1(&directory, quota, period),
        Kind::V2 => write_v2(&directory, quota, period),
    };
    let shown = |value: Option<String>| value.unwrap_or_else(|| "the present".to_owned());
    let quota = shown(quota.map(|quota| quota.to_string()));
    let period = shown(period.map(|period| period.to_string()));
    written.map_err(|error| {
        refused("cpu quota", &directory, format_args!("{quota} us in {period} us"))(reason(error))
    })
}

/// Which order the kernel takes depends on the old values: quota over period must not exceed the parent's at any moment.
fn write_v1(directory: &Path, quota: Option<i64>, period: Option<u64>) -> Result<(), Error> {
    let set_quota = || {
        quota.map_or(Ok(()), |quota| {
            write_file(&directory.join("cpu.cfs_quota_us"), &quota.to_string())
        })
    };
    let set_period = || {
        period.map_or(Ok(()), |period| {
            write_file(&directory.join("cpu.cfs_period_us"), &period.to_string())
        })
    };
    set_period()
        .and_then(|()| set_quota())
        .or_else(|_| set_quota().and_then(|()| set_period()))
}

/// One file holds both; a period that is left out stays.
fn write_v2(directory: &Path, quota: Option<i64>, period: Option<u64>) -> Result<(), Error> {
    let file = directory.join("cpu.max");
    let quota = match quota {
        Some(-1) => "max".to_owned(),
        Some(quota) => quota.to_string(),
        None => {
            let present = read(&file)?;
            present.split_whitespace().next().unwrap_or("max").to_owned()
        }
    };
    let value = match period {
        Some(period) => format!("{quota} {period}"),
        None => quota,
    };
    write_file(&file, &value)
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
