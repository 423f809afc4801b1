//! Security contexts, the pod's and the container's as one, and sysctls.

use std::collections::HashMap;

use auraed_api::runtime::v0::{SeccompProfile, SecurityContext};
use k8s_openapi::api::core::v1::{self, Container, PodSecurityContext};

use super::{Scope, containers};
use crate::problem::Problems;

/// What a pod may set of itself; each is of its own namespace and touches no other pod.
const SAFE_SYSCTLS: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

pub(super) fn translate(
    scope: Scope<'_>,
    path: &str,
    container: &Container,
    problems: &mut Problems,
) -> SecurityContext {
    let (no_pod, no_own) = (PodSecurityContext::default(), v1::SecurityContext::default());
    let pod = scope.spec.security_context.as_ref().unwrap_or(&no_pod);
    let own = container.security_context.as_ref().unwrap_or(&no_own);
    let mut id = |given: Option<i64>, above: Option<i64>, name: &str| {
        let (value, field) = match given {
            Some(value) => (value, format!("{path}.securityContext.{name}")),
            None => (above?, format!("spec.securityContext.{name}")),
        };
        checked_id(value, &field, problems)
    };
    let run_as_user = id(own.run_as_user, pod.run_as_user, "runAsUser");
    let run_as_group = id(own.run_as_group, pod.run_as_group, "runAsGroup");
    let groups = pod.supplemental_groups.iter().flatten();
    let supplemental_groups = groups
        .filter_map(|group| id(None, Some(*group), "supplementalGroups"))
        .collect();
    let seccomp = own
        .seccomp_profile
        .as_ref()
        .or(pod.seccomp_profile.as_ref())
        .map(|profile| profile.type_.as_str());
    let privileged = own.privileged.unwrap_or(false);
    let capabilities = own.capabilities.as_ref();
    SecurityContext {
        run_as_user,
        run_as_group,
        run_as_non_root: own.run_as_non_root.or(pod.run_as_non_root).unwrap_or(false),
        supplemental_groups,
        add_capabilities: names(capabilities.and_then(|capabilities| capabilities.add.as_ref())),
        drop_capabilities: names(capabilities.and_then(|capabilities| capabilities.drop.as_ref())),
        privileged,
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        seccomp: profile(seccomp, privileged, scope.node.seccomp_default).into(),
        unmasked_proc: own.proc_mount.as_deref() == Some("Unmasked"),
    }
}

/// Without a profile kubelet runs a container unconfined, unless it is told otherwise; a privileged one always.
fn profile(given: Option<&str>, privileged: bool, default_on: bool) -> SeccompProfile {
    match given {
        _ if privileged => SeccompProfile::Unconfined,
        Some("RuntimeDefault") => SeccompProfile::Unspecified,
        None if default_on => SeccompProfile::Unspecified,
        _ => SeccompProfile::Unconfined,
    }
}

/// Capabilities as auraed knows them: upper case, without `CAP_`.
fn names(given: Option<&Vec<String>>) -> Vec<String> {
    let upper = given.into_iter().flatten().map(|name| name.to_uppercase());
    upper
        .map(|name| name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name))
        .collect()
}

fn checked_id(value: i64, field: &str, problems: &mut Problems) -> Option<u32> {
    // The kernel's ids end one below the value that means "none".
    match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Some(id),
        _ => {
            problems.refuse(field, format!("{value} is no user or group id"));
            None
        }
    }
}

pub(super) fn fs_group(scope: Scope<'_>, problems: &mut Problems) -> Option<u32> {
    let group = scope.spec.security_context.as_ref()?.fs_group?;
    checked_id(group, "spec.securityContext.fsGroup", problems)
}

/// The user that all containers run as, where they agree and say so.
pub(super) fn common_user(scope: Scope<'_>) -> Option<i64> {
    let above = scope
        .spec
        .security_context
        .as_ref()
        .and_then(|context| context.run_as_user);
    let mut users = containers(scope.spec).map(|(_, _, container)| {
        let own = container
            .security_context
            .as_ref()
            .and_then(|context| context.run_as_user);
        own.or(above)
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first)
}

pub(super) fn sysctls(scope: Scope<'_>, problems: &mut Problems) -> HashMap<String, String> {
    let context = scope.spec.security_context.as_ref();
    let given = context
        .and_then(|context| context.sysctls.as_ref())
        .into_iter()
        .flatten();
    let mut result = HashMap::new();
    for (index, sysctl) in given.enumerate() {
        let name = dotted(&sysctl.name);
        let shared = if scope.host_network() && name.starts_with("net.") {
            Some("host net")
        } else if scope.spec.host_ipc == Some(true) && !name.starts_with("net.") {
            Some("host ipc")
        } else {
            None
        };
        let message = match shared {
            Some(shared) => format!(
                "forbidden sysctl: {:?} not allowed with {shared} enabled",
                sysctl.name
            ),
            None if allowed(scope, &name) => {
                result.insert(name, sysctl.value.clone());
                continue;
            }
            None => format!("forbidden sysctl: {:?} not allowlisted", sysctl.name),
        };
        problems.refuse_as(
            "SysctlForbidden",
            format!("spec.securityContext.sysctls[{index}]"),
            message,
        );
    }
    result
}

fn allowed(scope: Scope<'_>, name: &str) -> bool {
    let listed = |allowed: &String| match allowed.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == allowed,
    };
    SAFE_SYSCTLS.contains(&name) || scope.node.allowed_unsafe_sysctls.iter().any(listed)
}

/// `a/b.c/d` as `a.b/c.d`: where the first separator is a slash, slashes and dots change places.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(first) if name[first..].starts_with('/') => {
            let swap = |c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            };
            name.chars().map(swap).collect()
        }
        _ => name.to_owned(),
    }
}
