//! What is mounted into a container beside its root.

use super::{Facts, mappings};
use auraed_api::runtime::v0 as api;
use auraed_image::Image;
use auraed_sandbox::{Mount, MountKind, Propagation};
use std::path::PathBuf;
use std::slice::Iter;
use std::sync::Arc;

/// The sandbox's own files below /etc.
pub(in crate::runtime::sandboxes) const ETC: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// The sandbox's own files where the caller mounts nothing, then the caller's.
pub(super) fn mounts(facts: &Facts, read_only_root: bool) -> Vec<Mount> {
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
            ..Mount::default()
        })
    });
    let mut mounts: Vec<Mount> = own.collect();
    // What is mounted inside another mount must come after it.
    let mut images = facts.mounted.iter();
    let mut ordered: Vec<(usize, Mount)> = wanted
        .iter()
        .map(|mount| (depth(mount), one(facts, mount, &mut images)))
        .collect();
    ordered.sort_by_key(|(depth, _)| *depth);
    mounts.extend(ordered.into_iter().map(|(_, mount)| mount));
    mounts
}

fn depth(mount: &api::ContainerMount) -> usize {
    let parts = mount.container_path.split('/');
    parts.filter(|part| !part.is_empty()).count()
}

fn one(facts: &Facts, mount: &api::ContainerMount, images: &mut Iter<'_, Arc<Image>>) -> Mount {
    let image = if mount.image.is_empty() {
        None
    } else {
        images.next()
    };
    let kind = match image {
        Some(image) => MountKind::Image {
            lowers: facts.images.lower_directories(image),
        },
        None => MountKind::Bind,
    };
    Mount {
        source: PathBuf::from(&mount.host_path),
        sub_path: mount.image_sub_path.clone(),
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
        ..Mount::default()
    }
}
