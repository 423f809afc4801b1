//! What is mounted into a container beside its root.

use super::{Facts, image, mappings};
use crate::runtime::sandboxes::error::SandboxError;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::{Mount, MountKind, Propagation};
use std::path::PathBuf;

/// The sandbox's own files below /etc.
pub(in crate::runtime::sandboxes) const ETC: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// The sandbox's own files where the caller mounts nothing, then the caller's.
pub(super) fn mounts(facts: &Facts<'_>, read_only_root: bool) -> Result<Vec<Mount>, SandboxError> {
    let wanted = &facts.spec.mounts;
    let etc = facts.directories.etc(&facts.spec.sandbox);
    let own = ETC.iter().filter_map(|name| {
        let target = format!("/etc/{name}");
        let taken = wanted
            .iter()
            .any(|mount| mount.container_path.trim_end_matches('/') == target);
        (!taken).then(|| Mount {
            source: etc.join(name),
            target,
            read_only: read_only_root,
            mapping: facts.sandbox.user_namespace.as_ref().map(mappings),
            ..Mount::default()
        })
    });
    let mut mounts: Vec<Mount> = own.collect();
    // What is mounted inside another mount must come after it.
    let mut ordered: Vec<&api::ContainerMount> = wanted.iter().collect();
    ordered.sort_by_key(|mount| {
        mount
            .container_path
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
    });
    for mount in ordered {
        mounts.push(one(facts, mount)?);
    }
    Ok(mounts)
}

fn one(facts: &Facts<'_>, mount: &api::ContainerMount) -> Result<Mount, SandboxError> {
    let (kind, source, sub_path) = if mount.image.is_empty() {
        (MountKind::Bind, PathBuf::from(&mount.host_path), String::new())
    } else {
        let image = image(facts.images, &mount.image)?;
        let lowers = facts.images.lower_directories(&image);
        (
            MountKind::Image { lowers },
            PathBuf::new(),
            mount.image_sub_path.clone(),
        )
    };
    Ok(Mount {
        source,
        sub_path,
        target: mount.container_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount.recursive_read_only,
        propagation: match mount.propagation() {
            api::MountPropagation::Unspecified => Propagation::Private,
            api::MountPropagation::HostToContainer => Propagation::HostToContainer,
            api::MountPropagation::Bidirectional => Propagation::Bidirectional,
        },
        mapping: mount.mapping.as_ref().map(mappings),
        kind,
    })
}
