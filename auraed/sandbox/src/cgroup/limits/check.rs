//! Limits that make no sense, found before any is written.

use super::super::Error;
use super::Limits;

/// What the kernel takes, in microseconds (kernel/sched/core.c: min_cfs_quota_period, max_cfs_quota_period).
const PERIOD_US: std::ops::RangeInclusive<u64> = 1000..=1_000_000;
/// More are not looked at.
const MAX_ENTRIES: usize = 64;
/// The longest list of CPUs, or content of a file.
const MAX_TEXT: usize = 4096;
/// Files whose content is the runtime's own business: who is in the group, and what it is.
const RESERVED: [&str; 6] = [
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.type",
    "cgroup.kill",
    "cgroup.freeze",
    "cgroup.subtree_control",
];

pub(super) fn check(limits: &Limits) -> Result<(), Error> {
    if let Some(period) = limits.cpu_period_us
        && period != 0
        && !PERIOD_US.contains(&period)
    {
        return Err(Error::Invalid(format!(
            "a CPU period of {period} us is not between {} and {} us",
            PERIOD_US.start(),
            PERIOD_US.end()
        )));
    }
    for (name, list) in [
        ("cpuset.cpus", &limits.cpuset_cpus),
        ("cpuset.mems", &limits.cpuset_mems),
    ] {
        if let Some(list) = list
            && !is_list(list)
        {
            return Err(Error::Invalid(format!(
                "{name} of {list:?} is not a list of numbers such as 0-2,7"
            )));
        }
    }
    check_swap(limits)?;
    if limits.huge_pages.len() > MAX_ENTRIES || limits.unified.len() > MAX_ENTRIES {
        return Err(Error::Invalid(format!(
            "more than {MAX_ENTRIES} limits of huge pages or files of cgroup v2"
        )));
    }
    for (size, _) in &limits.huge_pages {
        if !is_page_size(size) {
            return Err(Error::Invalid(format!(
                "{size:?} is not a size of huge pages such as 2MB"
            )));
        }
    }
    limits
        .unified
        .iter()
        .try_for_each(|(file, value)| check_unified(file, value))
}

fn check_swap(limits: &Limits) -> Result<(), Error> {
    let (Some(memory), Some(both)) = (limits.memory_bytes, limits.memory_swap_bytes) else {
        return Ok(());
    };
    let Ok(both) = u64::try_from(both) else {
        return Ok(());
    };
    if both == 0 {
        return Ok(());
    }
    if memory == 0 {
        return Err(Error::Invalid(format!(
            "memory and swap cannot be limited to {both} bytes while memory is not limited"
        )));
    }
    if both < memory {
        return Err(Error::Invalid(format!(
            "memory and swap together ({both} bytes) are less than memory ({memory} bytes)"
        )));
    }
    Ok(())
}

/// The kernel's format for sets: numbers and ranges, with commas between (Documentation/admin-guide/cgroup-v2.rst).
fn is_list(list: &str) -> bool {
    let number = |text: &str| (1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let range = |text: &str| match text.split_once('-') {
        Some((from, to)) => {
            number(from) && number(to) && from.parse::<u32>().unwrap_or(0) <= to.parse::<u32>().unwrap_or(0)
        }
        None => number(text),
    };
    let list = list.trim();
    list.len() <= MAX_TEXT && (list.is_empty() || list.split(',').all(|part| range(part.trim())))
}

fn is_page_size(size: &str) -> bool {
    let digits = size.trim_end_matches("KB").trim_end_matches("MB");
    let digits = digits.trim_end_matches("GB");
    let unit = &size[digits.len()..];
    matches!(unit, "KB" | "MB" | "GB")
        && (1..=6).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn check_unified(file: &str, value: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_name = file.len() <= 255
        && file.contains('.')
        && !file.starts_with('.')
        && !file.contains("..")
        && file.bytes().all(plain);
    if !is_name {
        return Err(Error::Invalid(format!(
            "{file:?} is not the name of a file of cgroup v2"
        )));
    }
    if RESERVED.contains(&file) {
        return Err(Error::Invalid(format!(
            "the file {file} of cgroup v2 cannot be set by a caller"
        )));
    }
    if value.len() > MAX_TEXT || value.contains('\0') {
        return Err(Error::Invalid(format!(
            "the value for the file {file} of cgroup v2 is too long"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(limits: &Limits) -> String {
        match check(limits) {
            Err(Error::Invalid(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sets_are_lists_of_numbers_and_ranges() {
        for list in ["", "0", "0-2,7", "0, 1", "0-0", "3,1"] {
            assert!(is_list(list), "{list:?}");
        }
        for list in ["a", "0-", "-1", "2-1", "0,,1", "1 2", "0-1-2", "99999999", "0\n1"] {
            assert!(!is_list(list), "{list:?}");
        }
    }

    #[test]
    fn page_sizes_have_a_unit() {
        for size in ["2MB", "1GB", "64KB"] {
            assert!(is_page_size(size), "{size}");
        }
        for size in ["", "MB", "2", "2Mi", "../2MB", "2MBMB", "2KBMB", "x2MB"] {
            assert!(!is_page_size(size), "{size}");
        }
    }

    #[test]
    fn files_of_v2_are_plain_names() {
        for file in [
            "memory.high",
            "hugetlb.2MB.max",
            "io.max",
            "cgroup.max.depth",
            "misc.max",
        ] {
            check_unified(file, "max").unwrap();
        }
        for file in [
            "",
            ".",
            "..",
            "memory",
            "../memory.max",
            "a/memory.max",
            "memory..max",
            ".x",
            "memory.max\0",
            "cgroup.procs",
            "cgroup.subtree_control",
        ] {
            check_unified(file, "1").unwrap_err();
        }
        check_unified("memory.max", &"1".repeat(MAX_TEXT + 1)).unwrap_err();
    }

    #[test]
    fn nonsense_is_told_apart() {
        let limits = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits
        };
        assert!(refusal(&limits(|limits| limits.cpu_period_us = Some(999))).contains("999"));
        assert!(refusal(&limits(|limits| limits.cpuset_cpus = Some("x".to_owned()))).contains("cpuset.cpus"));
        let less = limits(|limits| {
            limits.memory_bytes = Some(100);
            limits.memory_swap_bytes = Some(99);
        });
        assert!(refusal(&less).contains("less than memory"));
        let unlimited = limits(|limits| {
            limits.memory_bytes = Some(0);
            limits.memory_swap_bytes = Some(99);
        });
        assert!(refusal(&unlimited).contains("not limited"));
        for both in [0, -1, 100, 200] {
            check(&Limits {
                memory_bytes: Some(100),
                memory_swap_bytes: Some(both),
                ..Limits::default()
            })
            .unwrap();
        }
    }
}
