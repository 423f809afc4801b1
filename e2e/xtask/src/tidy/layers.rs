//! Who may depend on whom. docs/architecture.md draws it; here it is enforced.

use super::{Dependency, members};

/// A member and the members that its program or library may use. Tests of the upper ones may use any.
const MAY_USE: &[(&str, &[&str])] = &[
    ("auraed-api", &[]),
    ("auraed-types", &["auraed-api"]),
    ("auraed-client", &["auraed-api", "auraed-types"]),
    ("auraed-state", &["auraed-api", "auraed-types"]),
    ("auraed-identity", &["auraed-api", "auraed-types"]),
    ("auraed-image", &["auraed-api", "auraed-types"]),
    ("auraed-cni", &[]),
    ("auraed-pod-init", &[]),
    // It carries the pod init's program and speaks its protocol.
    (
        "auraed-sandbox",
        &["auraed-api", "auraed-types", "auraed-pod-init"],
    ),
    ("cri-api", &[]),
    ("translation", &["auraed-api", "auraed-types", "cri-api"]),
    ("cri-shim-streaming", &[]),
    // A client's streams on one side, auraed's calls on the other.
    (
        "cri-shim-relay",
        &["auraed-api", "auraed-client", "cri-shim-streaming"],
    ),
    (
        "auraed",
        &[
            "auraed-api",
            "auraed-types",
            "auraed-state",
            "auraed-identity",
            "auraed-image",
            "auraed-cni",
            "auraed-sandbox",
        ],
    ),
    (
        "auraed-cli",
        &["auraed-api", "auraed-types", "auraed-client", "translation"],
    ),
    (
        "kubelet-bridge",
        &[
            "auraed-api",
            "auraed-types",
            "auraed-client",
            "translation",
            "cri-shim-relay",
            "cri-shim-streaming",
        ],
    ),
    (
        "cri-shim",
        &[
            "auraed-api",
            "auraed-types",
            "auraed-client",
            "cri-api",
            "cri-shim-relay",
            "cri-shim-streaming",
            "translation",
        ],
    ),
    ("e2e", &["auraed-api", "auraed-types", "auraed-client", "cri-api"]),
    ("xtask", &[]),
];

/// A crate with weight, or one that opens a door, and the members that may name it in what they ship.
const OWNED: &[(&str, &[&str])] = &[
    ("axum", &["kubelet-bridge"]),
    ("cgroups-rs", &["auraed-sandbox"]),
    // The command line reads Kubernetes manifests, through translation.
    (
        "k8s-openapi",
        &["translation", "kubelet-bridge", "auraed-cli", "e2e"],
    ),
    ("kube", &["kubelet-bridge", "e2e"]),
    ("libc", &["auraed-sandbox", "auraed-pod-init"]),
    ("nix", &[]),
    ("oci-spec", &["auraed-image"]),
    ("openssl", &[]),
    ("protox", &["xtask"]),
    // The bridge makes the certificate of the kubelet's API when it is given none.
    ("rcgen", &["auraed-identity", "kubelet-bridge", "e2e"]),
    ("reqwest", &["auraed-image"]),
    ("rtnetlink", &["auraed-sandbox"]),
    ("rusqlite", &["auraed-state"]),
    ("seccompiler", &["auraed-sandbox"]),
    ("tar", &["auraed-image", "e2e"]),
    ("tokio-tungstenite", &["cri-shim-streaming"]),
    ("tonic-prost-build", &["xtask"]),
    ("x509-parser", &["auraed-identity", "kubelet-bridge"]),
    ("zstd", &["auraed-image", "e2e"]),
];

#[test]
fn members_use_only_what_is_below_them() {
    let members = members();
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    for member in &members {
        let known = MAY_USE.iter().find(|(name, _)| *name == member.name);
        let (_, may_use) = known.unwrap_or_else(|| panic!("{} has no place in {}", member.name, file!()));
        for dependency in member
            .dependencies
            .iter()
            .filter(|dependency| shipped(dependency))
        {
            let name = dependency.name.as_str();
            assert!(
                !names.contains(&name) || may_use.contains(&name),
                "{} must not depend on {name}: see docs/architecture.md",
                member.name
            );
        }
    }
    for (name, _) in MAY_USE {
        assert!(names.contains(name), "{name} is gone: take it out of {}", file!());
    }
}

#[test]
fn heavy_crates_have_one_owner() {
    for member in members() {
        for dependency in member
            .dependencies
            .iter()
            .filter(|dependency| shipped(dependency))
        {
            if let Some((name, owners)) = OWNED.iter().find(|(name, _)| *name == dependency.name) {
                let owns = owners.contains(&member.name.as_str());
                assert!(
                    owns,
                    "{} must not depend on {name}, which is of {owners:?} alone",
                    member.name
                );
            }
        }
    }
}

/// No Kubernetes below translation: not in the daemon either, whatever its tests do.
#[test]
fn nothing_of_the_daemon_knows_kubernetes() {
    for member in members()
        .into_iter()
        .filter(|member| member.name.starts_with("auraed") && member.name != "auraed-cli")
    {
        let known = member
            .dependencies
            .iter()
            .find(|one| matches!(one.name.as_str(), "kube" | "k8s-openapi" | "translation"));
        assert!(
            known.is_none(),
            "{} depends on {}",
            member.name,
            known.map_or("", |known| known.name.as_str())
        );
    }
}

fn shipped(dependency: &Dependency) -> bool {
    dependency.kind.as_deref() != Some("dev")
}
