//! Where a container sees the pod's volumes.

use auraed_api::runtime::v0::{MountPropagation, VolumeMount};
use k8s_openapi::api::core::v1::{self, Container};

use super::Scope;
use crate::problem::Problems;

pub(super) fn translate(
    scope: Scope<'_>,
    path: &str,
    container: &Container,
    problems: &mut Problems,
) -> Vec<VolumeMount> {
    let mounts = container.volume_mounts.iter().flatten().enumerate();
    mounts
        .map(|(index, mount)| {
            let path = format!("{path}.volumeMounts[{index}]");
            if !scope
                .spec
                .volumes
                .iter()
                .flatten()
                .any(|volume| volume.name == mount.name)
            {
                problems.refuse(
                    format!("{path}.name"),
                    format!("there is no volume {:?}", mount.name),
                );
            }
            one(&path, mount, problems)
        })
        .collect()
}

fn one(path: &str, mount: &v1::VolumeMount, problems: &mut Problems) -> VolumeMount {
    let expression = mount.sub_path_expr.as_deref().filter(|path| !path.is_empty());
    let literal = mount.sub_path.as_deref().filter(|path| !path.is_empty());
    let sub_path = match (expression, literal) {
        (Some(expression), _) => {
            check(&format!("{path}.subPathExpr"), expression, problems);
            expression.to_owned()
        }
        (None, Some(literal)) => {
            check(&format!("{path}.subPath"), literal, problems);
            // auraed expands what it is given; a plain path means itself.
            literal.replace("$(", "$$(")
        }
        (None, None) => String::new(),
    };
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => MountPropagation::HostToContainer,
        Some("Bidirectional") => MountPropagation::Bidirectional,
        _ => MountPropagation::Unspecified,
    };
    VolumeMount {
        volume: mount.name.clone(),
        path: mount.mount_path.clone(),
        read_only: mount.read_only.unwrap_or(false),
        sub_path,
        propagation: propagation.into(),
    }
}

fn check(field: &str, path: &str, problems: &mut Problems) {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        problems.refuse(field, format!("{path:?} must be a relative path without \"..\""));
    }
}
