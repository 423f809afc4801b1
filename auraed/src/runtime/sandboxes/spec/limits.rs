//! Limits of the API as the kernel's.

use auraed_api::runtime::v0 as api;
use auraed_sandbox::cgroup::Limits;

/// What is written into a cgroup. What is absent stays as it is.
pub(in crate::runtime::sandboxes) fn limits(resources: &api::LinuxResources) -> Limits {
    // Negative is unlimited, which is 0 there.
    let bound = |value: Option<i64>| value.map(|value| u64::try_from(value).unwrap_or(0));
    Limits {
        cpu_shares: wish(resources.cpu_shares),
        cpu_quota_us: wish(resources.cpu_quota_us),
        cpu_period_us: wish(resources.cpu_period_us),
        memory_bytes: bound(wish(resources.memory_bytes)),
        pids: bound(wish(resources.pids)),
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        memory_swap_bytes: resources.memory_swap_bytes,
        huge_pages: resources
            .huge_pages
            .iter()
            .map(|limit| (limit.page_size.clone(), limit.bytes))
            .collect(),
        unified: resources.unified.clone().into_iter().collect(),
        // A limit that nobody keeps is not what the caller was promised.
        strict: true,
        ..Limits::default()
    }
}

/// `old` with what `new` says: absent values stay, and so do those that are no wish (see [`limits`]).
pub(in crate::runtime::sandboxes) fn merged(
    old: &api::LinuxResources,
    new: &api::LinuxResources,
) -> api::LinuxResources {
    let mut unified = old.unified.clone();
    unified.extend(new.unified.clone());
    let mut huge_pages = old.huge_pages.clone();
    huge_pages.retain(|limit| {
        new.huge_pages
            .iter()
            .all(|other| other.page_size != limit.page_size)
    });
    huge_pages.extend(new.huge_pages.iter().cloned());
    let memory_bytes = wish(new.memory_bytes).or(old.memory_bytes);
    let memory_swap_bytes = wish(new.memory_swap_bytes).or_else(|| {
        // Memory and swap together are not less than memory, and follow it where nobody speaks of them.
        let both = old.memory_swap_bytes?;
        let memory = memory_bytes.filter(|_| both > 0)?;
        Some(if memory < 0 { memory } else { both.max(memory) })
    });
    api::LinuxResources {
        cpu_shares: wish(new.cpu_shares).or(old.cpu_shares),
        cpu_quota_us: wish(new.cpu_quota_us).or(old.cpu_quota_us),
        cpu_period_us: wish(new.cpu_period_us).or(old.cpu_period_us),
        cpuset_cpus: set(new.cpuset_cpus.as_ref()).or_else(|| old.cpuset_cpus.clone()),
        cpuset_mems: set(new.cpuset_mems.as_ref()).or_else(|| old.cpuset_mems.clone()),
        memory_bytes,
        memory_swap_bytes: memory_swap_bytes.or(old.memory_swap_bytes),
        pids: wish(new.pids).or(old.pids),
        oom_score_adj: new.oom_score_adj.or(old.oom_score_adj),
        huge_pages,
        unified,
    }
}

/// 0 is no wish at all, as in the OCI's runtime specification.
fn wish<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

/// As is an empty set of CPUs or of memory nodes.
fn set(list: Option<&String>) -> Option<String> {
    list.filter(|list| !list.trim().is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_is_unlimited_and_absent_stays() {
        let resources = api::LinuxResources {
            cpu_quota_us: Some(-1),
            memory_bytes: Some(-1),
            pids: Some(100),
            cpu_shares: Some(0),
            ..api::LinuxResources::default()
        };
        let limits = limits(&resources);
        assert_eq!(limits.cpu_quota_us, Some(-1));
        assert_eq!(limits.memory_bytes, Some(0));
        assert_eq!(limits.pids, Some(100));
        assert_eq!((limits.cpu_shares, limits.cpu_period_us), (None, None));
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let page = |page_size: &str, bytes| api::HugePageLimit {
            page_size: page_size.into(),
            bytes,
        };
        let old = api::LinuxResources {
            cpu_shares: Some(2),
            memory_bytes: Some(1 << 20),
            huge_pages: vec![page("2MB", 1), page("1GB", 2)],
            unified: [("memory.high".to_owned(), "max".to_owned())].into(),
            ..api::LinuxResources::default()
        };
        let new = api::LinuxResources {
            memory_bytes: Some(2 << 20),
            huge_pages: vec![page("2MB", 3)],
            unified: [("memory.low".to_owned(), "0".to_owned())].into(),
            ..api::LinuxResources::default()
        };
        let both = merged(&old, &new);
        assert_eq!((both.cpu_shares, both.memory_bytes), (Some(2), Some(2 << 20)));
        assert_eq!(both.huge_pages, [page("1GB", 2), page("2MB", 3)]);
        assert_eq!(both.unified.len(), 2);
    }

    #[test]
    fn what_is_no_wish_changes_nothing() {
        let old = api::LinuxResources {
            cpu_shares: Some(2),
            cpu_quota_us: Some(5_000),
            cpuset_cpus: Some("0-1".to_owned()),
            memory_bytes: Some(1 << 20),
            memory_swap_bytes: Some(2 << 20),
            pids: Some(7),
            ..api::LinuxResources::default()
        };
        let new = api::LinuxResources {
            cpu_shares: Some(0),
            cpu_quota_us: Some(0),
            cpu_period_us: Some(0),
            cpuset_cpus: Some(String::new()),
            cpuset_mems: Some(" ".to_owned()),
            memory_bytes: Some(0),
            memory_swap_bytes: Some(0),
            pids: Some(0),
            ..api::LinuxResources::default()
        };
        assert_eq!(merged(&old, &new), old);
    }

    #[test]
    fn memory_and_swap_are_never_less_than_memory() {
        let both = |old: i64, memory: i64| {
            let resources = |memory_bytes, memory_swap_bytes| api::LinuxResources {
                memory_bytes: Some(memory_bytes),
                memory_swap_bytes,
                ..api::LinuxResources::default()
            };
            merged(&resources(1, Some(old)), &resources(memory, None)).memory_swap_bytes
        };
        assert_eq!(both(64, 128), Some(128));
        assert_eq!(both(96, 64), Some(96));
        assert_eq!(
            both(64, -1),
            Some(-1),
            "memory without a limit has none with swap either"
        );
        assert_eq!(both(-1, 128), Some(-1));
    }
}
