//! Whom a container runs as.

use auraed_image::ImageConfig;
use auraed_sandbox::User;
use auraed_types::Pod;
use auraed_types::pod::Container;

use crate::schedule::machine::StartFailure;

/// The pod's user, else the image's; with the pod's groups. A root that is not wanted is refused.
pub(super) fn user(pod: &Pod, container: &Container, image: &ImageConfig) -> Result<User, StartFailure> {
    let security = &container.security;
    if security.run_as_non_root {
        not_root(pod, container, image).map_err(StartFailure::Config)?;
    }
    let groups = pod
        .fs_group
        .into_iter()
        .chain(security.supplemental_groups.iter().copied());
    Ok(User {
        name: security
            .run_as_user
            .map_or_else(|| image.user.clone(), |user| user.to_string()),
        group: security.run_as_group,
        additional_groups: groups.collect(),
        strict_groups: false,
    })
}

fn not_root(pod: &Pod, container: &Container, image: &ImageConfig) -> Result<(), String> {
    let place = format!(
        "(pod: \"{}_{}({})\", container: {})",
        pod.name, pod.namespace, pod.id, container.name
    );
    match container.security.run_as_user {
        Some(0) => return Err(format!("container's runAsUser breaks non-root policy {place}")),
        Some(_) => return Ok(()),
        None => {}
    }
    let name = image.user.split(':').next().unwrap_or_default();
    match name.parse::<u32>() {
        Ok(0) => Err(format!(
            "container has runAsNonRoot and image will run as root {place}"
        )),
        Ok(_) => Ok(()),
        Err(_) if name.is_empty() => Err(format!(
            "container has runAsNonRoot and image will run as root {place}"
        )),
        Err(_) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {place}"
        )),
    }
}
