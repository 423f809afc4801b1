//! A sandbox's own files below /etc, which its containers have where their caller mounts nothing else.

use super::places::Directories;
use super::spec;
use crate::files;
use auraed_api::runtime::v0 as api;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;

/// Writes them, and makes the directory for logs.
pub(super) fn write(
    directories: &Directories,
    spec: &api::SandboxSpec,
    addresses: &[IpAddr],
) -> io::Result<()> {
    let node = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
    let own_network = spec.network() != api::NamespaceMode::Node;
    let hostname = spec::hostname(spec);
    let hosts = if own_network {
        hosts(&hostname, addresses)
    } else {
        node("/etc/hosts")
    };
    let resolv_conf = match &spec.dns {
        Some(dns) => resolv_conf(dns),
        None => node("/etc/resolv.conf"),
    };
    let owner = owner(spec);
    let etc = directories.etc(&spec.id);
    files::make_private(&etc)?;
    for (name, content) in [
        ("hostname", format!("{hostname}\n")),
        ("hosts", hosts),
        ("resolv.conf", resolv_conf),
    ] {
        let path = etc.join(name);
        files::replace(&path, content.as_bytes(), 0o644)?;
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&path, Some(user), Some(group))?;
        }
    }
    if spec.log_directory.is_empty() {
        return Ok(());
    }
    fs_err::create_dir_all(&spec.log_directory)
}

/// Who is root in a user namespace.
fn owner(spec: &api::SandboxSpec) -> Option<(u32, u32)> {
    let mappings = spec::mappings(spec.user_namespace.as_ref()?);
    mappings.host_uid(0).zip(mappings.host_gid(0))
}

/// hosts(5).
fn hosts(hostname: &str, addresses: &[IpAddr]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for address in addresses {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    text
}

/// resolv.conf(5).
fn resolv_conf(dns: &api::SandboxDns) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        let _ = writeln!(text, "search {}", dns.searches.join(" "));
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_as_the_caller_says() {
        let dns = api::SandboxDns {
            servers: vec!["10.0.0.10".into(), "10.0.0.11".into()],
            searches: vec!["svc.cluster.local".into(), "example.com".into()],
            options: vec!["ndots:5".into()],
        };
        assert_eq!(
            resolv_conf(&dns),
            "search svc.cluster.local example.com\nnameserver 10.0.0.10\nnameserver 10.0.0.11\noptions ndots:5\n"
        );
        assert_eq!(resolv_conf(&api::SandboxDns::default()), "");
    }
}
