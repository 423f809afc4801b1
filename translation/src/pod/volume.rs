//! Volumes: directories, paths of the node, and files whose content is known here.

use auraed_api::schedule::v0::volume::Source;
use auraed_api::schedule::v0::{self as schedule, EmptyDirectory, HostPath, HostPathType};
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Pod, PodSpec, Volume};

use super::{Scope, resources};
use crate::problem::Problems;
use crate::quantity::Amount;
use crate::{Node, Objects, Problem};

mod files;

/// The content of each volume of files, to replace what a running pod has.
pub fn volumes(
    pod: &Pod,
    objects: &Objects,
    node: &Node,
) -> Result<Vec<(String, schedule::Files)>, Vec<Problem>> {
    let empty = PodSpec::default();
    let scope = Scope {
        pod,
        spec: pod.spec.as_ref().unwrap_or(&empty),
        objects,
        node,
    };
    let mut problems = Problems::default();
    let all = translate(scope, &mut problems);
    let blocking = problems.blocking();
    if !blocking.is_empty() {
        return Err(blocking);
    }
    let files = all.into_iter().filter_map(|volume| match volume.source {
        Some(Source::Files(files)) => Some((volume.name, files)),
        _ => None,
    });
    Ok(files.collect())
}

pub(super) fn translate(scope: Scope<'_>, problems: &mut Problems) -> Vec<schedule::Volume> {
    let given = scope.spec.volumes.iter().flatten().enumerate();
    given
        .map(|(index, volume)| {
            let source = source(scope, &format!("spec.volumes[{index}]"), volume, problems);
            schedule::Volume {
                name: volume.name.clone(),
                source,
            }
        })
        .collect()
}

fn source(scope: Scope<'_>, path: &str, volume: &Volume, problems: &mut Problems) -> Option<Source> {
    if let Some(empty) = &volume.empty_dir {
        return Some(Source::EmptyDirectory(empty_directory(
            scope, path, empty, problems,
        )));
    }
    if let Some(host) = &volume.host_path {
        return Some(Source::HostPath(host_path(host)));
    }
    let mut found = files::Found::new(scope, path, &volume.name, problems);
    if let Some(source) = &volume.config_map {
        found.config_map_volume(source);
    } else if let Some(source) = &volume.secret {
        found.secret_volume(source);
    } else if let Some(source) = &volume.downward_api {
        found.downward_api_volume(source);
    } else if let Some(source) = &volume.projected {
        found.projected_volume(source);
    } else {
        // A source that is refused was told of already.
        let named = Volume {
            name: volume.name.clone(),
            ..Volume::default()
        };
        if *volume == named {
            problems.refuse(path, "a volume needs a source");
        }
        return None;
    }
    Some(Source::Files(found.finish()))
}

fn empty_directory(
    scope: Scope<'_>,
    path: &str,
    empty: &EmptyDirVolumeSource,
    problems: &mut Problems,
) -> EmptyDirectory {
    let memory = empty.medium.as_deref() == Some("Memory");
    let given = empty
        .size_limit
        .as_ref()
        .map(Amount::of)
        .transpose()
        .unwrap_or_else(|error| {
            problems.refuse(format!("{path}.emptyDir.sizeLimit"), error.to_string());
            None
        });
    let given = given.filter(|size| !size.is_zero() && !size.is_negative());
    let size = if memory {
        smallest([
            given,
            resources::memory_limit(scope.spec),
            allocatable_memory(scope),
        ])
    } else {
        given
    };
    EmptyDirectory {
        memory,
        size_limit_bytes: size.and_then(|size| u64::try_from(size.to_whole()).ok()),
    }
}

fn smallest(sizes: [Option<Amount>; 3]) -> Option<Amount> {
    sizes.into_iter().flatten().min()
}

fn allocatable_memory(scope: Scope<'_>) -> Option<Amount> {
    Amount::of(scope.node.allocatable.get("memory")?)
        .ok()
        .filter(|amount| !amount.is_zero())
}

fn host_path(host: &HostPathVolumeSource) -> HostPath {
    let kind = match host.type_.as_deref() {
        Some("DirectoryOrCreate") => HostPathType::DirectoryOrCreate,
        Some("Directory") => HostPathType::Directory,
        Some("FileOrCreate") => HostPathType::FileOrCreate,
        Some("File") => HostPathType::File,
        Some("Socket") => HostPathType::Socket,
        Some("CharDevice") => HostPathType::CharacterDevice,
        Some("BlockDevice") => HostPathType::BlockDevice,
        _ => HostPathType::Unspecified,
    };
    HostPath {
        path: host.path.clone(),
        r#type: kind.into(),
    }
}
