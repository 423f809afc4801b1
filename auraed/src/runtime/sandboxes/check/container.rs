//! A container's spec.

use super::{MAX_PATH, Problems, resources, user_namespace};
use api::NamespaceMode as Mode;
use api::SecurityProfileKind as Kind;
use auraed_api::runtime::v0 as api;
use std::path::Path;

/// One argument or variable (`MAX_ARG_STRLEN`).
const MAX_ARGUMENT: usize = 128 * 1024 - 1;

const MAX_NAME: usize = 1024;

pub(super) fn check(problems: &mut Problems, spec: &api::ContainerSpec) {
    problems.id("id", &spec.id);
    problems.id("sandbox", &spec.sandbox);
    problems.require(!spec.name.is_empty(), "name", "must not be empty");
    problems.text("name", &spec.name, MAX_NAME);
    problems.texts("labels", &spec.labels);
    problems.texts("annotations", &spec.annotations);
    problems.require(!spec.image.is_empty(), "image", "must not be empty");
    program(problems, spec);
    for (index, mount) in spec.mounts.iter().enumerate() {
        check_mount(problems, &format!("mounts[{index}]"), mount);
    }
    for (index, device) in spec.devices.iter().enumerate() {
        let field = |name: &str| format!("devices[{index}].{name}");
        problems.path(field("host_path"), &device.host_path);
        problems.path(field("container_path"), &device.container_path);
        let fits = |byte: u8| matches!(byte, b'r' | b'w' | b'm');
        problems.require(
            !device.permissions.is_empty() && device.permissions.bytes().all(fits),
            field("permissions"),
            "must be of r, w and m",
        );
    }
    if !spec.log_path.is_empty() {
        problems.path("log_path", &spec.log_path);
    }
    problems.require(
        !spec.stdin_once || spec.stdin,
        "stdin_once",
        "needs standard input",
    );
    if let Some(resources) = &spec.resources {
        resources::check(problems, resources);
    }
    if let Some(security) = &spec.security {
        check_security(problems, security);
    }
    problems.require(
        spec.stop_signal.is_empty() || crate::stop_signal::number(&spec.stop_signal).is_some(),
        "stop_signal",
        "must be a signal",
    );
}

fn program(problems: &mut Problems, spec: &api::ContainerSpec) {
    for (field, texts) in [("command", &spec.command), ("args", &spec.args)] {
        for (index, text) in texts.iter().enumerate() {
            problems.text(format!("{field}[{index}]"), text, MAX_ARGUMENT);
        }
    }
    if !spec.working_directory.is_empty() {
        problems.path("working_directory", &spec.working_directory);
    }
    for (index, variable) in spec.env.iter().enumerate() {
        // The value is nobody's business.
        problems.require(
            !variable.name.is_empty() && !variable.name.contains(['=', '\0']),
            format!("env[{index}].name"),
            "must not be empty, nor hold \"=\" or a zero byte",
        );
        problems.text(format!("env[{index}].value"), &variable.value, MAX_ARGUMENT);
    }
}

fn check_mount(problems: &mut Problems, field: &str, mount: &api::ContainerMount) {
    problems.path(format!("{field}.container_path"), &mount.container_path);
    if mount.image.is_empty() {
        problems.path(format!("{field}.host_path"), &mount.host_path);
        problems.require(
            mount.image_sub_path.is_empty(),
            format!("{field}.image_sub_path"),
            "needs an image",
        );
    } else {
        problems.require(
            mount.host_path.is_empty(),
            format!("{field}.host_path"),
            "must be empty with an image",
        );
        let sub_path = Path::new(&mount.image_sub_path);
        problems.require(
            sub_path.is_relative() && !mount.image_sub_path.split('/').any(|part| part == ".."),
            format!("{field}.image_sub_path"),
            "must be a path inside the image",
        );
        problems.text(format!("{field}.image_sub_path"), &mount.image_sub_path, MAX_PATH);
    }
    if mount.recursive_read_only {
        problems.require(
            mount.read_only,
            format!("{field}.recursive_read_only"),
            "needs read_only",
        );
        problems.require(
            mount.propagation() == api::MountPropagation::Unspecified,
            format!("{field}.recursive_read_only"),
            "needs no propagation",
        );
    }
    if let Some(mapping) = &mount.mapping {
        user_namespace(problems, &format!("{field}.mapping"), mapping);
    }
}

fn check_security(problems: &mut Problems, security: &api::ProcessSecurity) {
    let has_user = security.run_as_user.is_some() || !security.run_as_username.is_empty();
    problems.require(
        has_user || security.run_as_group.is_none(),
        "security.run_as_group",
        "needs a user",
    );
    problems.text("security.run_as_username", &security.run_as_username, MAX_NAME);
    problems.require(
        (security.pid() == Mode::Target) != security.pid_target.is_empty(),
        "security.pid_target",
        "must name a container with NAMESPACE_MODE_TARGET, and none without",
    );
    for (field, paths) in [
        ("masked_paths", &security.masked_paths),
        ("read_only_paths", &security.read_only_paths),
    ] {
        for (index, path) in paths.iter().enumerate() {
            problems.path(format!("security.{field}[{index}]"), path);
        }
    }
    if let Some(profile) = localhost(problems, "security.seccomp", security.seccomp.as_ref()) {
        problems.path("security.seccomp.localhost", profile);
    }
    if let Some(profile) = localhost(problems, "security.apparmor", security.apparmor.as_ref())
        && let Err(error) = auraed_sandbox::apparmor::check(profile)
    {
        problems.add("security.apparmor", error.to_string());
    }
    let selinux = security.selinux.as_ref();
    let wanted = selinux.is_some_and(|selinux| *selinux != api::SelinuxOptions::default());
    problems.require(
        !wanted,
        "security.selinux",
        "labels of SELinux are not to be had on this node",
    );
    if let Some(namespace) = &security.user_namespace {
        user_namespace(problems, "security.user_namespace", namespace);
    }
}

/// The profile's name, if it is to be one of the node's.
fn localhost<'a>(
    problems: &mut Problems,
    field: &str,
    profile: Option<&'a api::SecurityProfile>,
) -> Option<&'a str> {
    let profile = profile?;
    let wanted = profile.kind() == Kind::Localhost;
    problems.require(
        wanted != profile.localhost.is_empty(),
        format!("{field}.localhost"),
        "must be given for LOCALHOST alone",
    );
    wanted.then_some(profile.localhost.as_str())
}

pub(super) fn check_fit(problems: &mut Problems, spec: &api::ContainerSpec, sandbox: &api::SandboxSpec) {
    let default = api::ProcessSecurity::default();
    let security = spec.security.as_ref().unwrap_or(&default);
    problems.require(
        !security.privileged || sandbox.privileged,
        "security.privileged",
        "needs a privileged sandbox",
    );
    problems.require(
        !security.privileged || sandbox.user_namespace.is_none(),
        "security.privileged",
        "is not to be had in a user namespace",
    );
    match security.pid() {
        Mode::Node => problems.require(
            sandbox.pid() == Mode::Node,
            "security.pid",
            "the node's needs a sandbox with the node's",
        ),
        Mode::Unspecified => problems.require(
            sandbox.pid() != Mode::Container,
            "security.pid",
            "the sandbox has none for all its containers",
        ),
        Mode::Container | Mode::Target => {}
    }
    problems.require(
        security.user_namespace.is_none() || security.user_namespace == sandbox.user_namespace,
        "security.user_namespace",
        "must be the sandbox's",
    );
}
