//! Limits of cgroups, both ways. In the CRI a zero says nothing; in Aurae what says nothing is absent.

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;

use super::Refused;

/// What a new container gets. Its OOM score is given as it is: zero is a score.
pub(super) fn initial(
    resources: &cri::LinuxContainerResources,
    field: &str,
    refused: &mut Refused,
) -> aurae::LinuxResources {
    let score = refused.number(format!("{field}.oom_score_adj"), resources.oom_score_adj);
    aurae::LinuxResources {
        oom_score_adj: Some(score),
        ..translate(resources, field, refused)
    }
}

/// What changes of a container; what is zero stays as it is.
///
/// # Errors
/// [`Refused`], with fields below `linux`.
pub fn update(resources: &cri::LinuxContainerResources) -> Result<aurae::LinuxResources, Refused> {
    let mut refused = Refused::default();
    let translated = translate(resources, "linux", &mut refused);
    refused.unless(translated)
}

fn translate(
    resources: &cri::LinuxContainerResources,
    field: &str,
    refused: &mut Refused,
) -> aurae::LinuxResources {
    let cri::LinuxContainerResources {
        cpu_period,
        cpu_quota,
        cpu_shares,
        memory_limit_in_bytes,
        oom_score_adj,
        cpuset_cpus,
        cpuset_mems,
        hugepage_limits,
        unified,
        memory_swap_limit_in_bytes,
    } = resources;
    let set = |value: i64| (value != 0).then_some(value);
    let text = |value: &String| (!value.is_empty()).then(|| value.clone());
    aurae::LinuxResources {
        cpu_shares: set(*cpu_shares).map(|value| refused.number(format!("{field}.cpu_shares"), value)),
        cpu_quota_us: set(*cpu_quota),
        cpu_period_us: set(*cpu_period).map(|value| refused.number(format!("{field}.cpu_period"), value)),
        cpuset_cpus: text(cpuset_cpus),
        cpuset_mems: text(cpuset_mems),
        memory_bytes: set(*memory_limit_in_bytes),
        memory_swap_bytes: set(*memory_swap_limit_in_bytes),
        pids: None,
        oom_score_adj: set(*oom_score_adj)
            .map(|value| refused.number(format!("{field}.oom_score_adj"), value)),
        huge_pages: hugepage_limits
            .iter()
            .map(|limit| aurae::HugePageLimit {
                page_size: limit.page_size.clone(),
                bytes: limit.limit,
            })
            .collect(),
        unified: unified.clone(),
    }
}

/// What is in force, as the CRI says it.
#[must_use]
pub fn shown(resources: &aurae::LinuxResources) -> cri::LinuxContainerResources {
    let saturated = |value: Option<u64>| i64::try_from(value.unwrap_or_default()).unwrap_or(i64::MAX);
    cri::LinuxContainerResources {
        cpu_period: saturated(resources.cpu_period_us),
        cpu_quota: resources.cpu_quota_us.unwrap_or_default(),
        cpu_shares: saturated(resources.cpu_shares),
        memory_limit_in_bytes: resources.memory_bytes.unwrap_or_default(),
        oom_score_adj: resources.oom_score_adj.unwrap_or_default().into(),
        cpuset_cpus: resources.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: resources.cpuset_mems.clone().unwrap_or_default(),
        hugepage_limits: resources
            .huge_pages
            .iter()
            .map(|limit| cri::HugepageLimit {
                page_size: limit.page_size.clone(),
                limit: limit.bytes,
            })
            .collect(),
        unified: resources.unified.clone(),
        memory_swap_limit_in_bytes: resources.memory_swap_bytes.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_says_nothing() {
        let nothing = cri::LinuxContainerResources::default();
        assert_eq!(update(&nothing), Ok(aurae::LinuxResources::default()));
        let mut refused = Refused::default();
        let initial = initial(&nothing, "r", &mut refused);
        assert_eq!(initial.oom_score_adj, Some(0));
    }

    #[test]
    fn what_is_set_comes_back() {
        let resources = cri::LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: -1,
            cpu_shares: 512,
            memory_limit_in_bytes: 1 << 30,
            oom_score_adj: -997,
            cpuset_cpus: "0-1".into(),
            cpuset_mems: "0".into(),
            hugepage_limits: vec![cri::HugepageLimit {
                page_size: "2MB".into(),
                limit: 1 << 21,
            }],
            unified: [("memory.high".to_owned(), "1000".to_owned())].into(),
            memory_swap_limit_in_bytes: 2 << 30,
        };
        assert_eq!(shown(&update(&resources).unwrap()), resources);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let resources = cri::LinuxContainerResources {
            cpu_shares: -1,
            oom_score_adj: i64::MAX,
            ..Default::default()
        };
        let fields: Vec<_> = update(&resources)
            .unwrap_err()
            .fields
            .into_iter()
            .map(|one| one.field)
            .collect();
        assert_eq!(fields, ["linux.cpu_shares", "linux.oom_score_adj"]);
    }
}
