//! Limits.

use super::Problems;
use auraed_api::runtime::v0 as api;

/// Microseconds that the kernel takes as a CPU period (kernel/sched/core.c).
const PERIODS_US: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;

pub(super) fn check(problems: &mut Problems, resources: &api::LinuxResources) {
    if let Some(period) = resources.cpu_period_us.filter(|period| *period != 0) {
        problems.require(
            PERIODS_US.contains(&period),
            "resources.cpu_period_us",
            "must be between 1000 and 1000000",
        );
    }
    if let Some(score) = resources.oom_score_adj {
        problems.require(
            (-1000..=1000).contains(&score),
            "resources.oom_score_adj",
            "must be between -1000 and 1000",
        );
    }
    for (field, list) in [
        ("resources.cpuset_cpus", &resources.cpuset_cpus),
        ("resources.cpuset_mems", &resources.cpuset_mems),
    ] {
        if let Some(list) = list {
            let fits = |byte: u8| byte.is_ascii_digit() || matches!(byte, b',' | b'-');
            problems.require(
                list.bytes().all(fits),
                field,
                "must be a list of numbers and ranges, as 0-2,7",
            );
        }
    }
    if let (Some(memory), Some(swap)) = (resources.memory_bytes, resources.memory_swap_bytes) {
        problems.require(
            swap <= 0 || memory <= swap,
            "resources.memory_swap_bytes",
            "is memory and swap together: must not be less than memory_bytes",
        );
    }
    for (index, limit) in resources.huge_pages.iter().enumerate() {
        let size = limit
            .page_size
            .strip_suffix("KB")
            .or_else(|| limit.page_size.strip_suffix("MB"))
            .or_else(|| limit.page_size.strip_suffix("GB"));
        let holds =
            size.is_some_and(|size| !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit()));
        problems.require(
            holds,
            format!("resources.huge_pages[{index}].page_size"),
            "must be a size as 2MB",
        );
    }
    for (name, value) in &resources.unified {
        let field = format!("resources.unified[{name}]");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        // cgroup.procs and its like are no limits.
        let holds = name.contains('.')
            && name.bytes().all(plain)
            && !name.starts_with('.')
            && !name.starts_with("cgroup.");
        problems.require(
            holds,
            field.clone(),
            "must be named as a controller's file of cgroup v2",
        );
        problems.text(field, value, super::MAX_PATH);
    }
}
