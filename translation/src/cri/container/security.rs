//! Who a container's process is and what it may do.

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;
use cri_api::v1::NamespaceMode as Mode;

use super::super::profile::Given;
use super::super::{Refused, namespaces};

pub(super) fn translate(
    context: cri::LinuxContainerSecurityContext,
    refused: &mut Refused,
) -> aurae::ProcessSecurity {
    let field = |name: &str| format!("config.linux.security_context.{name}");
    let (seccomp, apparmor) = profiles(&context, refused);
    user(&context, refused);
    let options = context.namespace_options.unwrap_or_default();
    let capabilities = context.capabilities.unwrap_or_default();
    let pid = namespaces::mode(
        options.pid,
        &[Mode::Pod, Mode::Container, Mode::Node, Mode::Target],
        field("namespace_options.pid"),
        refused,
    );
    let target = pid == aurae::NamespaceMode::Target as i32;
    if target && options.target_id.is_empty() {
        refused.add(field("namespace_options.target_id"), "must not be empty");
    }
    let mut id = |name: &str, value: Option<cri::Int64Value>| -> Option<u32> {
        value.map(|value| refused.number(field(name), value.value))
    };
    let (run_as_user, run_as_group) = (
        id("run_as_user", context.run_as_user),
        id("run_as_group", context.run_as_group),
    );
    let supplemental_groups = context
        .supplemental_groups
        .iter()
        .enumerate()
        .map(|(index, group)| refused.number(field(&format!("supplemental_groups[{index}]")), *group))
        .collect();
    let strict = policy(context.supplemental_groups_policy, &field, refused);
    aurae::ProcessSecurity {
        privileged: context.privileged,
        add_capabilities: names(&capabilities.add_capabilities),
        drop_capabilities: names(&capabilities.drop_capabilities),
        ambient_capabilities: names(&capabilities.add_ambient_capabilities),
        pid,
        pid_target: if target { options.target_id } else { String::new() },
        run_as_user,
        run_as_username: context.run_as_username,
        run_as_group,
        supplemental_groups,
        strict_supplemental_groups: strict,
        read_only_root: context.readonly_rootfs,
        no_new_privileges: context.no_new_privs,
        masked_paths: context.masked_paths,
        read_only_paths: context.readonly_paths,
        seccomp: Some(seccomp),
        apparmor: Some(apparmor),
        selinux: context.selinux_options.map(|selinux| aurae::SelinuxOptions {
            user: selinux.user,
            role: selinux.role,
            r#type: selinux.r#type,
            level: selinux.level,
        }),
        user_namespace: namespaces::user(
            options.userns_options.as_ref(),
            &field("namespace_options.userns_options"),
            refused,
        ),
    }
}

/// A user is named in one way, and a group goes with a user.
fn user(context: &cri::LinuxContainerSecurityContext, refused: &mut Refused) {
    let named = !context.run_as_username.is_empty();
    if named && context.run_as_user.is_some() {
        refused.add(
            "config.linux.security_context.run_as_username",
            "run_as_user is given as well",
        );
    }
    if context.run_as_group.is_some() && context.run_as_user.is_none() && !named {
        refused.add(
            "config.linux.security_context.run_as_group",
            "a group needs run_as_user or run_as_username",
        );
    }
}

fn policy(value: i32, field: &dyn Fn(&str) -> String, refused: &mut Refused) -> bool {
    match cri::SupplementalGroupsPolicy::try_from(value) {
        Ok(policy) => policy == cri::SupplementalGroupsPolicy::Strict,
        Err(_) => {
            refused.add(field("supplemental_groups_policy"), "unknown policy");
            false
        }
    }
}

/// Seccomp, AppArmor. A client that names no seccomp profile gets none, as the interface says of the older text.
#[expect(deprecated, reason = "older clients give a text")]
fn profiles(
    context: &cri::LinuxContainerSecurityContext,
    refused: &mut Refused,
) -> (aurae::SecurityProfile, aurae::SecurityProfile) {
    let field = |name: &str| format!("config.linux.security_context.{name}");
    let seccomp = Given {
        profile: context.seccomp.as_ref(),
        text: &context.seccomp_profile_path,
        field: field("seccomp"),
        text_field: field("seccomp_profile_path"),
        unset: aurae::SecurityProfileKind::Unconfined,
    };
    let apparmor = Given {
        profile: context.apparmor.as_ref(),
        text: &context.apparmor_profile,
        field: field("apparmor"),
        text_field: field("apparmor_profile"),
        unset: aurae::SecurityProfileKind::Unspecified,
    };
    (seccomp.translate(refused), apparmor.translate(refused))
}

/// Capabilities, with CAP_ or without.
fn names(capabilities: &[String]) -> Vec<String> {
    let bare = |name: &String| {
        let upper = name.to_ascii_uppercase();
        upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
    };
    capabilities.iter().map(bare).collect()
}
