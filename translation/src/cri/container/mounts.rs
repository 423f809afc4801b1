//! What a container sees of the node, and of images, at which paths.

use auraed_api::runtime::v0 as aurae;
use cri_api::v1 as cri;

use super::super::{Refused, namespaces};

pub(super) fn translate(mounts: &[cri::Mount], refused: &mut Refused) -> Vec<aurae::ContainerMount> {
    mounts
        .iter()
        .enumerate()
        .map(|(index, mount)| one(mount, &format!("config.mounts[{index}]"), refused))
        .collect()
}

fn one(mount: &cri::Mount, field: &str, refused: &mut Refused) -> aurae::ContainerMount {
    let image = mount.image.as_ref().map_or("", |image| image.image.as_str());
    match (image.is_empty(), mount.host_path.is_empty()) {
        (false, false) => refused.add(
            format!("{field}.host_path"),
            "must be empty where an image is mounted",
        ),
        (true, true) => refused.add(format!("{field}.host_path"), "must not be empty"),
        _ => {}
    }
    if image.is_empty() && !mount.image_sub_path.is_empty() {
        refused.add(format!("{field}.image_sub_path"), "needs an image");
    }
    if !mount.mount_options.is_empty() {
        refused.add(
            format!("{field}.mount_options"),
            "options of mounts are not applied by this runtime",
        );
    }
    let propagation = propagation(mount.propagation, field, refused);
    if mount.recursive_read_only {
        if !mount.readonly {
            refused.add(format!("{field}.recursive_read_only"), "needs readonly");
        }
        if propagation != aurae::MountPropagation::Unspecified {
            refused.add(
                format!("{field}.recursive_read_only"),
                "needs a private propagation",
            );
        }
    }
    aurae::ContainerMount {
        container_path: mount.container_path.clone(),
        host_path: mount.host_path.clone(),
        image: image.to_owned(),
        image_sub_path: mount.image_sub_path.clone(),
        read_only: mount.readonly,
        recursive_read_only: mount.recursive_read_only,
        propagation: propagation as i32,
        selinux_relabel: mount.selinux_relabel,
        mapping: namespaces::mapping(&mount.uid_mappings, &mount.gid_mappings),
    }
}

fn propagation(value: i32, field: &str, refused: &mut Refused) -> aurae::MountPropagation {
    match cri::MountPropagation::try_from(value) {
        Ok(cri::MountPropagation::PropagationPrivate) => aurae::MountPropagation::Unspecified,
        Ok(cri::MountPropagation::PropagationHostToContainer) => aurae::MountPropagation::HostToContainer,
        Ok(cri::MountPropagation::PropagationBidirectional) => aurae::MountPropagation::Bidirectional,
        Err(_) => {
            refused.add(format!("{field}.propagation"), "unknown propagation");
            aurae::MountPropagation::Unspecified
        }
    }
}

/// As it was asked for: kubelet finds its termination log by the path in the container.
pub(super) fn shown(mount: &aurae::ContainerMount) -> cri::Mount {
    let propagation = match mount.propagation() {
        aurae::MountPropagation::Unspecified => cri::MountPropagation::PropagationPrivate,
        aurae::MountPropagation::HostToContainer => cri::MountPropagation::PropagationHostToContainer,
        aurae::MountPropagation::Bidirectional => cri::MountPropagation::PropagationBidirectional,
    };
    let mapping = mount.mapping.clone().unwrap_or_default();
    cri::Mount {
        container_path: mount.container_path.clone(),
        host_path: mount.host_path.clone(),
        readonly: mount.read_only,
        selinux_relabel: mount.selinux_relabel,
        propagation: propagation as i32,
        uid_mappings: namespaces::mapping_shown(&mapping.uids),
        gid_mappings: namespaces::mapping_shown(&mapping.gids),
        recursive_read_only: mount.recursive_read_only,
        image: (!mount.image.is_empty()).then(|| cri::ImageSpec {
            image: mount.image.clone(),
            ..Default::default()
        }),
        image_sub_path: mount.image_sub_path.clone(),
        mount_options: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(mount: cri::Mount) -> Vec<String> {
        let mut refused = Refused::default();
        translate(&[mount], &mut refused);
        refused.fields.into_iter().map(|one| one.field).collect()
    }

    #[test]
    fn a_mount_is_of_the_node_or_of_an_image() {
        let image = Some(cri::ImageSpec {
            image: "busybox".into(),
            ..Default::default()
        });
        let both = cri::Mount {
            host_path: "/a".into(),
            image: image.clone(),
            ..Default::default()
        };
        assert_eq!(fields(both), ["config.mounts[0].host_path"]);
        assert_eq!(fields(cri::Mount::default()), ["config.mounts[0].host_path"]);
        let of_image = cri::Mount {
            image,
            image_sub_path: "bin".into(),
            ..Default::default()
        };
        assert_eq!(fields(of_image), [""; 0]);
    }

    #[test]
    fn recursive_read_only_is_only_for_what_is_read_only_and_private() {
        let mount = cri::Mount {
            host_path: "/a".into(),
            recursive_read_only: true,
            propagation: cri::MountPropagation::PropagationBidirectional as i32,
            ..Default::default()
        };
        assert_eq!(fields(mount).len(), 2);
    }

    #[test]
    fn a_mount_is_shown_as_it_was_asked_for() {
        let mapping = vec![cri::IdMapping {
            host_id: 65536,
            container_id: 0,
            length: 65536,
        }];
        let mount = cri::Mount {
            container_path: "/data".into(),
            host_path: "/var/data".into(),
            readonly: true,
            recursive_read_only: true,
            selinux_relabel: true,
            uid_mappings: mapping.clone(),
            gid_mappings: mapping,
            ..Default::default()
        };
        let mut refused = Refused::default();
        let translated = translate(std::slice::from_ref(&mount), &mut refused);
        assert_eq!(shown(&translated[0]), mount);
        assert_eq!(refused, Refused::default());
    }
}
