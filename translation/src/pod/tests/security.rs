use auraed_api::runtime::v0::SeccompProfile;

use super::*;

fn security(spec: &str, container: &str) -> runtime::SecurityContext {
    main(&pod(spec, container)).security.unwrap()
}

#[test]
fn the_containers_word_counts_before_the_pods() {
    let found = security(
        "  securityContext: { runAsUser: 1000, runAsGroup: 1001, runAsNonRoot: true, supplementalGroups: [5, 6], fsGroup: 7, seccompProfile: { type: RuntimeDefault } }",
        "    securityContext: { runAsUser: 2000, runAsNonRoot: false, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, procMount: Unmasked, capabilities: { add: [NET_ADMIN, cap_sys_time], drop: [ALL] } }",
    );
    let expected = runtime::SecurityContext {
        run_as_user: Some(2000),
        run_as_group: Some(1001),
        run_as_non_root: false,
        supplemental_groups: vec![5, 6],
        add_capabilities: vec!["NET_ADMIN".to_owned(), "SYS_TIME".to_owned()],
        drop_capabilities: vec!["ALL".to_owned()],
        privileged: false,
        read_only_root: true,
        no_new_privileges: true,
        seccomp: SeccompProfile::Unspecified.into(),
        unmasked_proc: true,
    };
    assert_eq!(found, expected);
    let pod = pod("  securityContext: { fsGroup: 7 }", "");
    assert_eq!(translated(&pod).fs_group, Some(7));
}

#[test]
fn a_missing_profile_means_what_kubelet_makes_of_it() {
    assert_eq!(security("", "").seccomp(), SeccompProfile::Unconfined);
    let mut node = node();
    node.seccomp_default = true;
    let found = to_aurae(&pod("", ""), &objects(), &node).unwrap();
    assert_eq!(
        found.containers[0].security.as_ref().unwrap().seccomp(),
        SeccompProfile::Unspecified
    );
    let given = "    securityContext: { seccompProfile: { type: Unconfined } }";
    let found = to_aurae(&pod("", given), &objects(), &node).unwrap();
    assert_eq!(
        found.containers[0].security.as_ref().unwrap().seccomp(),
        SeccompProfile::Unconfined
    );
    let privileged = "    securityContext: { privileged: true, seccompProfile: { type: RuntimeDefault } }";
    assert_eq!(security("", privileged).seccomp(), SeccompProfile::Unconfined);
}

#[test]
fn ids_that_the_kernel_does_not_have_are_refused() {
    let found = problems(&pod(
        "  securityContext: { fsGroup: -1 }",
        "    securityContext: { runAsUser: 4294967295 }",
    ));
    let fields: Vec<_> = found.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.securityContext.fsGroup",
            "spec.containers[0].securityContext.runAsUser"
        ]
    );
}

#[test]
fn only_safe_sysctls_are_set() {
    let of = |spec: &str, name: &str| {
        pod(
            &format!("{spec}\n  securityContext: {{ sysctls: [{{ name: {name}, value: '1' }}] }}"),
            "",
        )
    };
    let found = translated(&of("", "kernel/shm_rmid_forced")).sysctls;
    assert_eq!(
        found,
        [("kernel.shm_rmid_forced".to_owned(), "1".to_owned())].into()
    );
    let found = problems(&of("", "kernel.msgmax"));
    assert_eq!(found[0].kind, Kind::Refused("SysctlForbidden"));
    assert_eq!(
        found[0].message,
        "forbidden sysctl: \"kernel.msgmax\" not allowlisted"
    );
    let found = problems(&of("  hostNetwork: true", "net.ipv4.tcp_syncookies"));
    assert_eq!(
        found[0].message,
        "forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled"
    );
    let mut node = node();
    node.allowed_unsafe_sysctls = vec!["kernel.msg*".to_owned()];
    assert!(to_aurae(&of("", "kernel.msgmax"), &objects(), &node).is_ok());
}
