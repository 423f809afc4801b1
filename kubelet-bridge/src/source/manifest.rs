//! Static pods: files of `--pod-manifest-path`, a directory or one file, watched by inotify.
//!
//! A directory is read like kubelet's: not its subdirectories, no names that begin with a dot, in order. What changed is
//! read anew; a file that went wrong is told and its last good content goes on, so that a slip in an editor stops
//! nothing. A file that is gone takes its pods along.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::sync::watch;
use translation::Objects;
use translation::manifest::{self, ManifestError};

use crate::files::Changes;
use crate::pods::{Input, Inputs, StaticPod};

/// More than this is no manifest (kubelet's limit).
const MAX_BYTES: u64 = 10 * 1024 * 1024;
/// Without inotify the files are read this often, as kubelet does.
const POLL: Duration = Duration::from_secs(20);

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[source] std::io::Error),
    /// It is too long.
    #[error("it is larger than 10 MiB")]
    TooLarge,
    /// It is neither YAML nor JSON.
    #[error("it is not YAML")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// It holds something else than pods and what they refer to.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// One file as last understood.
#[derive(Debug, Default)]
struct File {
    content: String,
    pods: Vec<Arc<Pod>>,
    objects: Objects,
}

/// The task's state.
#[derive(Debug)]
struct Manifests {
    path: PathBuf,
    node: String,
    files: BTreeMap<PathBuf, File>,
}

/// Follows for ever. Config maps and secrets that stand beside the pods go into `objects`.
pub async fn follow(path: PathBuf, node: String, inputs: Inputs, objects: watch::Sender<Arc<Objects>>) {
    let mut changes = match watch(&path) {
        Ok(changes) => Some(changes),
        Err(error) => {
            tracing::warn!("manifests are read every 20 s: {}", crate::chain::sources(&error));
            None
        }
    };
    let mut manifests = Manifests {
        path,
        node,
        files: BTreeMap::new(),
    };
    loop {
        if manifests.read() || manifests.files.is_empty() {
            objects.send_replace(Arc::new(manifests.objects()));
        }
        if inputs.send(Input::Manifests(manifests.pods())).await.is_err() {
            return;
        }
        match &mut changes {
            Some(changes) => changes.next().await,
            None => tokio::time::sleep(POLL).await,
        }
    }
}

fn watch(path: &Path) -> Result<Changes, crate::files::WatchError> {
    if path.is_dir() {
        Changes::of_directory(path)
    } else {
        Changes::of_files(&[path.to_owned()])
    }
}

impl Manifests {
    /// Reads what changed; true where something did.
    fn read(&mut self) -> bool {
        let found = match list(&self.path) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("manifests cannot be listed, the last ones go on: {error}");
                return false;
            }
        };
        let before = self.files.len();
        self.files.retain(|path, _| found.contains(path));
        let mut changed = self.files.len() != before;
        for path in found {
            match self.read_file(&path) {
                Ok(news) => changed |= news,
                Err(error) => {
                    let had = if self.files.contains_key(&path) {
                        ", its last content goes on"
                    } else {
                        ""
                    };
                    tracing::warn!(
                        "the manifest {} is not used{had}: {}",
                        path.display(),
                        crate::chain::sources(&error)
                    );
                }
            }
        }
        changed
    }

    fn read_file(&mut self, path: &Path) -> Result<bool, FileError> {
        let content = content(path)?;
        if self.files.get(path).is_some_and(|file| file.content == content) {
            return Ok(false);
        }
        // As kubelet reads it: `defaultMode: 0400` is octal.
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(&content, options)
            .map_err(|error| FileError::Yaml(Box::new(error)))?;
        let manifest = manifest::parse(&documents)?;
        let (place, now) = (path.display().to_string(), Timestamp::now());
        let named = |pod| Arc::new(manifest::static_pod(pod, &self.node, "file", &place, now));
        let pods: Vec<Arc<Pod>> = manifest.pods.into_iter().map(named).collect();
        // A pod that is as it was keeps the time when it was first seen.
        let old = self.files.remove(path).unwrap_or_default().pods;
        let kept = |pod: Arc<Pod>| {
            let same = old.iter().find(|old| old.metadata.uid == pod.metadata.uid);
            same.map_or(pod, Arc::clone)
        };
        let pods = pods.into_iter().map(kept).collect();
        self.files.insert(
            path.to_owned(),
            File {
                content,
                pods,
                objects: manifest.objects,
            },
        );
        Ok(true)
    }

    fn pods(&self) -> Vec<StaticPod> {
        let pods = |(path, file): (&PathBuf, &File)| {
            let path: Arc<Path> = Arc::from(path.as_path());
            file.pods
                .iter()
                .map(move |pod| StaticPod {
                    path: Arc::clone(&path),
                    pod: Arc::clone(pod),
                })
                .collect()
        };
        self.files.iter().flat_map::<Vec<StaticPod>, _>(pods).collect()
    }

    fn objects(&self) -> Objects {
        let mut all = Objects::default();
        for file in self.files.values() {
            all.config_maps.extend(file.objects.config_maps.clone());
            all.secrets.extend(file.objects.secrets.clone());
            all.services.extend(file.objects.services.clone());
        }
        all
    }
}

fn list(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !fs_err::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs_err::read_dir(path)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn content(path: &Path) -> Result<String, FileError> {
    let mut content = String::new();
    let file = fs_err::File::open(path).map_err(FileError::Read)?;
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut content)
        .map_err(FileError::Read)?;
    if content.len() as u64 > MAX_BYTES {
        Err(FileError::TooLarge)
    } else {
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifests(directory: &Path) -> Manifests {
        Manifests {
            path: directory.to_owned(),
            node: "node".into(),
            files: BTreeMap::new(),
        }
    }

    #[test]
    fn a_slip_keeps_the_last_good_content() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.yaml");
        fs_err::write(&file, "null").expect("written");
        let mut manifests = manifests(directory.path());
        assert!(manifests.read());
        assert!(!manifests.read());
        fs_err::write(&file, "{ no: [yaml").expect("written");
        assert!(!manifests.read());
        assert_eq!(manifests.files[&file].content, "null");
        fs_err::remove_file(&file).expect("removed");
        assert!(manifests.read());
        assert!(manifests.files.is_empty());
    }

    #[test]
    fn dots_and_directories_are_passed_over() {
        let directory = tempfile::tempdir().expect("a directory");
        fs_err::write(directory.path().join(".hidden"), "").expect("written");
        fs_err::create_dir_all(directory.path().join("sub")).expect("made");
        for name in ["b", "a"] {
            fs_err::write(directory.path().join(name), "").expect("written");
        }
        let names: Vec<_> = list(directory.path()).expect("listed");
        assert_eq!(names, [directory.path().join("a"), directory.path().join("b")]);
    }
}
