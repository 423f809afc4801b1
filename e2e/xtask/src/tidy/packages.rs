//! What may be built at all, where it comes from, and what is built twice.

use std::collections::BTreeMap;

use super::packages;

/// Crates that must not be in the tree, directly or not.
const BANNED: &[(&str, &str)] = &[
    ("async-std", "one async runtime: tokio"),
    ("chrono", "times are jiff's, as k8s-openapi has them"),
    ("libseccomp", "a C library; filters are compiled by seccompiler"),
    ("native-tls", "one TLS: rustls on aws-lc-rs"),
    ("openssl", "one TLS: rustls on aws-lc-rs"),
    ("openssl-sys", "one TLS: rustls on aws-lc-rs"),
    ("ring", "one TLS provider: aws-lc-rs"),
    ("rustables", "GPL-3.0; nftables are spoken to by auraed/sandbox"),
    ("serde_yaml", "asleep; YAML is serde-saphyr's, as kube has it"),
    ("serde_yaml_ng", "asleep; YAML is serde-saphyr's, as kube has it"),
    ("smol", "one async runtime: tokio"),
    (
        "tokio-rusqlite",
        "pins an older SQLite; auraed-state has a thread of its own",
    ),
    ("tungstenite-native-tls", "one TLS: rustls on aws-lc-rs"),
    ("webpki", "rustls has its own"),
];

/// Crates that are built in more than one version: since when it is borne, and whom to wait for.
const TWICE: &[(&str, &str, &str)] = &[
    (
        "base64",
        "2026-11-24",
        "k8s-openapi stays at 0.22, hyper-util moved to 0.23",
    ),
    ("bitflags", "2026-11-24", "cgroups-rs, through its nix"),
    (
        "foldhash",
        "2026-11-24",
        "prost-build, through petgraph and its hashbrown",
    ),
    ("getrandom", "2026-11-24", "kube-runtime, through ahash"),
    ("hashbrown", "2026-11-24", "prost-build's petgraph, kube-runtime"),
    ("nix", "2026-11-24", "cgroups-rs"),
    (
        "prettyplease",
        "2026-11-24",
        "tonic-build stays at 0.2, prost-build moved to 0.3",
    ),
    ("syn", "2026-11-24", "half of all derive macros moved to 3"),
    ("synstructure", "2026-11-24", "follows syn"),
    ("thiserror", "2026-11-24", "cgroups-rs, with thiserror-impl"),
    (
        "tower-http",
        "2026-11-24",
        "reqwest stays at 0.6, kube moved to 0.7",
    ),
    ("unicode-width", "2026-11-24", "protox, through miette"),
    (
        "untrusted",
        "2026-11-24",
        "aws-lc-rs stays at 0.7, rustls-webpki moved to 0.9",
    ),
];

#[test]
fn nothing_banned_is_built() {
    for package in packages() {
        if let Some((name, reason)) = BANNED.iter().find(|(name, _)| *name == package.name) {
            panic!(
                "{name} {} is in the tree (cargo tree -i {name}): {reason}",
                package.version
            );
        }
    }
}

#[test]
fn everything_comes_from_the_registry() {
    let root = crate::shell::root();
    for package in packages() {
        let own = package.origin.contains(&*root.to_string_lossy());
        assert!(
            own || package.origin.is_empty(),
            "{} comes from {}",
            package.name,
            package.origin
        );
    }
}

#[test]
fn what_is_built_twice_is_known() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(package.name).or_default().push(package.version);
    }
    versions.retain(|name, versions| versions.len() > 1 && name != "thiserror-impl");
    for (name, versions) in &versions {
        let known = TWICE.iter().any(|(known, ..)| known == name);
        assert!(
            known,
            "{name} is built in the versions {versions:?}: agree on one, or say in {} why not",
            file!()
        );
    }
    for (name, since, _) in TWICE {
        assert!(
            versions.contains_key(*name),
            "{name} (since {since}) is built once now: take it off the list in {}",
            file!()
        );
    }
}
