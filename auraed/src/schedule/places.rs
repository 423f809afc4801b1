//! Where the files of one pod are.
//!
//! ```text
//! <state>/pods/<id>/containers/<name>/<attempt>/{upper,work,run.json,exit.json,termination-log}
//!                  /volumes/<volume>/              empty directories on disk
//!                  /etc/{hosts,resolv.conf,hostname}
//! <run>/pods/<id>/{init.sock,pod.pb,probes.json,files/<volume>}
//! <log>/<namespace>_<name>_<id>/<container>/<attempt>.log
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use auraed_sandbox::Sandbox;
use auraed_types::pod::{Volume, VolumeSource};
use auraed_types::{Pod, VolumeName};

use super::engine::Directories;

/// The directories of one pod.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    state: PathBuf,
    run: PathBuf,
    log: PathBuf,
}

impl Places {
    pub(crate) fn of(pod: &Pod, directories: &Directories) -> Places {
        Places {
            state: directories.state.join("pods").join(&pod.id),
            run: directories.run.join("pods").join(&pod.id),
            log: directories.log.join(pod.log_directory_name()),
        }
    }

    /// What outlives a boot.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// What is in memory.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    /// All logs.
    pub(crate) fn logs(&self) -> &Path {
        &self.log
    }

    /// The whole pod, with its secret values.
    pub(crate) fn message(&self) -> PathBuf {
        self.run.join("pod.pb")
    }

    /// What probes have found.
    pub(crate) fn marks(&self) -> PathBuf {
        self.run.join("probes.json")
    }

    /// All runs of a container.
    pub(crate) fn runs(&self, container: &str) -> PathBuf {
        self.state.join("containers").join(container)
    }

    /// One run.
    pub(crate) fn attempt(&self, container: &str, attempt: u32) -> Attempt {
        Attempt(self.runs(container).join(attempt.to_string()))
    }

    /// The log of a run.
    pub(crate) fn log(&self, container: &str, attempt: u32) -> PathBuf {
        self.log.join(container).join(format!("{attempt}.log"))
    }

    /// The pod's own files below /etc.
    pub(crate) fn etc(&self) -> PathBuf {
        self.state.join("etc")
    }

    /// Those files, by their path inside.
    pub(crate) fn etc_files(&self) -> BTreeMap<&'static str, PathBuf> {
        let etc = self.etc();
        ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"]
            .into_iter()
            .map(|path| (path, etc.join(path.trim_start_matches("/etc/"))))
            .collect()
    }

    /// Empty directories on disk.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.state.join("volumes")
    }

    /// Volumes of files.
    pub(crate) fn files(&self) -> PathBuf {
        self.run.join("files")
    }

    /// What stands behind each of the pod's volumes.
    pub(crate) fn volume_sources(&self, pod: &Pod, sandbox: &Sandbox) -> BTreeMap<VolumeName, PathBuf> {
        let source = |volume: &Volume| match &volume.source {
            VolumeSource::EmptyDirectory { memory: true, .. } => sandbox.tmpfs_path(volume.name.as_str()),
            VolumeSource::EmptyDirectory { memory: false, .. } => self.volumes().join(&volume.name),
            VolumeSource::HostPath { path, .. } => PathBuf::from(path),
            VolumeSource::Files(_) => self.files().join(&volume.name),
        };
        pod.volumes
            .iter()
            .map(|volume| (volume.name.clone(), source(volume)))
            .collect()
    }
}

/// The directory of one run.
#[derive(Clone, Debug)]
pub(crate) struct Attempt(PathBuf);

impl Attempt {
    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What the container writes beside its volumes.
    pub(crate) fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }

    /// Overlay's own.
    pub(crate) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// Written by the engine before the start.
    pub(crate) fn run_record(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// Written by the pod's init at the end.
    pub(crate) fn exit_record(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    /// Written by the container.
    pub(crate) fn termination_message(&self) -> PathBuf {
        self.0.join("termination-log")
    }
}
