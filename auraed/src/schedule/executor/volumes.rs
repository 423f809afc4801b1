//! Puts a pod's volumes in place.

use std::path::Path;

use auraed_types::pod::{Volume, VolumeSource};
use auraed_types::{Pod, VolumeName};

use super::node::Task;
use crate::files;
use crate::mount::{empty_directory, files as content, host_path};
use crate::schedule::machine::Input;
use crate::schedule::places::Places;
use crate::server::chain;

impl Task {
    pub(super) async fn prepare_volumes(self) {
        // New content may come meanwhile: whoever is second must have the newer.
        let _turn = self.cell.files.lock().await;
        let (pod, places) = (self.cell.pod(), self.places.clone());
        let prepared = if pod.volumes.is_empty() {
            Ok(())
        } else {
            let prepare = tokio::task::spawn_blocking(move || prepare(&pod, &places));
            prepare
                .await
                .unwrap_or_else(|panicked| match self.pod.volumes.first() {
                    Some(volume) => Err((volume.name.clone(), panicked.to_string())),
                    None => Ok(()),
                })
        };
        self.tell(match prepared {
            Ok(()) => Input::VolumesReady,
            Err((volume, message)) => Input::VolumeFailed { volume, message },
        });
    }
}

fn prepare(pod: &Pod, places: &Places) -> Result<(), (VolumeName, String)> {
    for volume in &pod.volumes {
        prepare_one(pod, volume, places).map_err(|message| (volume.name.clone(), message))?;
    }
    Ok(())
}

fn prepare_one(pod: &Pod, volume: &Volume, places: &Places) -> Result<(), String> {
    let make = |directory: &Path| files::make_private(directory).map_err(|error| error.to_string());
    match &volume.source {
        // The pod's init holds it.
        VolumeSource::EmptyDirectory { memory: true, .. } => Ok(()),
        VolumeSource::EmptyDirectory { memory: false, .. } => {
            make(&places.volumes())?;
            let path = places.volumes().join(&volume.name);
            empty_directory::create(&path, pod.fs_group).map_err(|error| error.to_string())
        }
        VolumeSource::HostPath { path, kind } => {
            host_path::prepare(path, *kind).map_err(|error| chain(&error))
        }
        VolumeSource::Files(files) => {
            make(&places.files())?;
            let path = places.files().join(&volume.name);
            content::write(&path, files, pod.fs_group)
                .map(drop)
                .map_err(|error| error.to_string())
        }
    }
}
