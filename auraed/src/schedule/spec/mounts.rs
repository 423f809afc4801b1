//! What is mounted into a container beside its root.

use auraed_sandbox::{Mount, MountKind, Propagation};
use auraed_types::pod::{MountPropagation, VolumeMount, VolumeSource};

use super::Facts;
use super::environment::Environment;
use crate::schedule::machine::StartFailure;

/// The pod's own files below /etc where no volume takes their place, then volumes, then the termination message.
pub(super) fn mounts(facts: &Facts<'_>, environment: &Environment) -> Result<Vec<Mount>, StartFailure> {
    let wanted = &facts.container.mounts;
    let free = |path: &str| !wanted.iter().any(|mount| mount.path == path);
    let etc = facts
        .places
        .etc
        .iter()
        .filter(|(path, _)| free(path))
        .map(|(path, source)| Mount {
            source: source.clone(),
            target: (*path).to_owned(),
            read_only: facts.container.security.read_only_root,
            kind: MountKind::Bind,
            ..Mount::default()
        });
    let mut mounts: Vec<Mount> = etc.collect();
    // A volume inside another must come after it.
    let mut ordered: Vec<&VolumeMount> = wanted.iter().collect();
    ordered.sort_by_key(|mount| mount.path.split('/').filter(|part| !part.is_empty()).count());
    for mount in ordered {
        mounts.push(volume(facts, mount, environment)?);
    }
    if free(&facts.container.termination_message_path) {
        mounts.push(Mount {
            source: facts.places.termination_message.clone(),
            target: facts.container.termination_message_path.clone(),
            kind: MountKind::Bind,
            ..Mount::default()
        });
    }
    Ok(mounts)
}

fn volume(facts: &Facts<'_>, mount: &VolumeMount, environment: &Environment) -> Result<Mount, StartFailure> {
    let config = |reason: String| {
        let (volume, container) = (&mount.volume, &facts.container.name);
        StartFailure::Config(format!(
            "failed to prepare volume \"{volume}\" of container \"{container}\": {reason}"
        ))
    };
    let source = facts
        .places
        .volumes
        .get(&mount.volume)
        .ok_or_else(|| config("it is not there".into()))?;
    let sub_path = mount.sub_path.as_deref().unwrap_or_default();
    let sub_path = environment
        .expand_all(sub_path)
        .map_err(|name| config(format!("missing value for \"{name}\"")))?;
    if sub_path.split('/').any(|part| part == "..") || sub_path.starts_with('/') {
        return Err(config(format!("subPath \"{sub_path}\" leaves the volume")));
    }
    let files = facts
        .pod
        .volume(mount.volume.as_str())
        .is_some_and(|volume| matches!(volume.source, VolumeSource::Files(_)));
    Ok(Mount {
        source: source.clone(),
        sub_path,
        target: mount.path.clone(),
        read_only: mount.read_only || files,
        propagation: match mount.propagation {
            MountPropagation::Private => Propagation::Private,
            MountPropagation::HostToContainer => Propagation::HostToContainer,
            MountPropagation::Bidirectional => Propagation::Bidirectional,
        },
        kind: MountKind::Bind,
        ..Mount::default()
    })
}
