//! A sandbox's spec.

use super::{MAX_PATH, Problems, resources, user_namespace};
use api::NamespaceMode as Mode;
use auraed_api::runtime::v0 as api;
use std::net::IpAddr;

/// Of sethostname(2).
const MAX_HOSTNAME: usize = 64;

/// Names are shown, not made into paths.
const MAX_NAME: usize = 1024;

pub(super) fn check(problems: &mut Problems, spec: &api::SandboxSpec) {
    problems.id("id", &spec.id);
    problems.require(!spec.name.is_empty(), "name", "must not be empty");
    for (field, text) in [
        ("name", &spec.name),
        ("namespace", &spec.namespace),
        ("uid", &spec.uid),
    ] {
        problems.text(field, text, MAX_NAME);
    }
    problems.texts("labels", &spec.labels);
    problems.texts("annotations", &spec.annotations);
    problems.text("hostname", &spec.hostname, MAX_HOSTNAME);
    for (field, path) in [
        ("log_directory", &spec.log_directory),
        ("cgroup_parent", &spec.cgroup_parent),
    ] {
        if !path.is_empty() {
            problems.path(field, path);
        }
    }
    namespaces(problems, spec);
    if let Some(dns) = &spec.dns {
        check_dns(problems, dns);
    }
    for (index, port) in spec.ports.iter().enumerate() {
        check_port(problems, index, port);
    }
    check_sysctls(problems, spec);
    if let Some(resources) = &spec.resources {
        resources::check(problems, resources);
    }
    for (name, value) in &spec.network_arguments {
        let plain = |text: &str| !text.contains([';', '\0']);
        problems.require(
            !name.is_empty() && !name.contains('=') && plain(name) && plain(value),
            format!("network_arguments[{name}]"),
            "must have a name without \"=\", and no \";\"",
        );
    }
}

fn namespaces(problems: &mut Problems, spec: &api::SandboxSpec) {
    for (field, mode) in [("network", spec.network()), ("ipc", spec.ipc())] {
        problems.require(
            matches!(mode, Mode::Unspecified | Mode::Node),
            field,
            "each container's own is not to be had: must be the sandbox's or the node's",
        );
    }
    problems.require(
        spec.pid() != Mode::Target,
        "pid",
        "another container's is for containers alone",
    );
    let Some(namespace) = &spec.user_namespace else {
        return;
    };
    user_namespace(problems, "user_namespace", namespace);
    // The kernel lets nobody but the namespace's own root act on them.
    for (field, mode) in [
        ("network", spec.network()),
        ("pid", spec.pid()),
        ("ipc", spec.ipc()),
    ] {
        problems.require(
            mode != Mode::Node,
            field,
            "the node's is not to be had in a user namespace",
        );
    }
}

fn check_dns(problems: &mut Problems, dns: &api::SandboxDns) {
    let word = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '\0');
    for (index, server) in dns.servers.iter().enumerate() {
        // An address of the node alone has its interface after a percent sign.
        let address = server.split('%').next().unwrap_or_default();
        problems.require(
            word(server) && address.parse::<IpAddr>().is_ok(),
            format!("dns.servers[{index}]"),
            "must be an IP address",
        );
    }
    for (field, texts) in [("searches", &dns.searches), ("options", &dns.options)] {
        for (index, text) in texts.iter().enumerate() {
            problems.require(word(text), format!("dns.{field}[{index}]"), "must be one word");
        }
    }
}

fn check_port(problems: &mut Problems, index: usize, port: &api::SandboxPort) {
    let field = |name: &str| format!("ports[{index}].{name}");
    problems.require(
        (1..=65535).contains(&port.container_port),
        field("container_port"),
        "must be between 1 and 65535",
    );
    problems.require(
        port.host_port <= 65535,
        field("host_port"),
        "must not be above 65535",
    );
    problems.require(
        port.host_address.is_empty() || port.host_address.parse::<IpAddr>().is_ok(),
        field("host_address"),
        "must be an IP address",
    );
}

fn check_sysctls(problems: &mut Problems, spec: &api::SandboxSpec) {
    for (name, value) in &spec.sysctls {
        let field = format!("sysctls[{name}]");
        let plain = |part: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/');
            !part.is_empty() && part.bytes().all(fits)
        };
        problems.require(
            name.contains('.') && name.split('.').all(plain),
            field.clone(),
            "must be named with dots, as net.ipv4.ip_forward",
        );
        problems.text(field, value, MAX_PATH);
    }
}
