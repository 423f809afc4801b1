//! What containers have written into their writable layers.
//!
//! Nobody counts while a container writes, so now and then somebody has to look at every file. That is done in one place,
//! for all who ask, at most once in [`AGE`].

use auraed_image::Usage;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How old an answer may be: kubelet asks every ten seconds.
const AGE: Duration = Duration::from_secs(9);

/// Files of all containers that are looked at in one go. What is beyond is not counted.
const MOST: u64 = 4 * 1024 * 1024;

/// The writable layers of this node's containers. Clones are one.
#[derive(Clone, Debug)]
pub(crate) struct WritableLayers {
    state_dir: Arc<Path>,
    newest: Arc<Mutex<Option<Newest>>>,
}

/// When it was measured.
type Newest = (Instant, Arc<Measured>);

/// What they took at some moment.
#[derive(Debug)]
pub(crate) struct Measured {
    /// All of them together.
    pub(crate) all: Usage,
    layers: HashMap<PathBuf, Usage>,
}

impl Measured {
    /// One container's, by its upper directory; absent if it had none yet.
    pub(crate) fn of(&self, upper: &Path) -> Option<Usage> {
        self.layers.get(upper).copied()
    }
}

impl WritableLayers {
    /// Those of the containers whose files are below this directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.into(),
            newest: Arc::default(),
        }
    }

    /// The directory that all of them are in.
    pub(crate) fn directory(&self) -> &Path {
        &self.state_dir
    }

    /// What they take, a few seconds old at most.
    ///
    /// # Errors
    /// A directory that is there cannot be read.
    pub(crate) async fn usage(&self) -> io::Result<Arc<Measured>> {
        // Who asks meanwhile waits for the same answer.
        let mut newest = self.newest.lock().await;
        if let Some((taken, measured)) = newest.as_ref()
            && taken.elapsed() < AGE
        {
            return Ok(Arc::clone(measured));
        }
        let state_dir = Arc::clone(&self.state_dir);
        let measuring = tokio::task::spawn_blocking(move || measure(&state_dir));
        let measured = Arc::new(measuring.await.map_err(io::Error::other)??);
        *newest = Some((Instant::now(), Arc::clone(&measured)));
        Ok(measured)
    }
}

fn measure(state_dir: &Path) -> io::Result<Measured> {
    let mut uppers = below(state_dir.join("sandboxes"), 2)?;
    uppers.extend(below(state_dir.join("pods"), 3)?);
    let mut layers = HashMap::new();
    let mut all = Usage::default();
    for upper in uppers {
        let usage = match Usage::measure(&upper, MOST.saturating_sub(all.inodes)) {
            // Its container went meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            usage => usage?,
        };
        all += usage;
        layers.insert(upper, usage);
    }
    Ok(Measured { all, layers })
}

/// `<directory>/<id>/containers/<…>/upper`, with `levels` directories between, the id among them.
fn below(directory: PathBuf, levels: usize) -> io::Result<Vec<PathBuf>> {
    let mut found = children(&directory)?;
    found.iter_mut().for_each(|path| path.push("containers"));
    for _ in 1..levels {
        let mut next = Vec::new();
        for path in &found {
            next.extend(children(path)?);
        }
        found = next;
    }
    found.iter_mut().for_each(|path| path.push("upper"));
    Ok(found)
}

/// Nothing where there is no such directory.
fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs_err::read_dir(directory) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_layers_of_both_engines_are_measured_together_and_apart() {
        let state = tempfile::tempdir().unwrap();
        let sandbox = state.path().join("sandboxes/s/containers/c/upper");
        let pod = state.path().join("pods/p/containers/name/0/upper");
        fs_err::create_dir_all(&sandbox).unwrap();
        fs_err::create_dir_all(&pod).unwrap();
        fs_err::create_dir_all(state.path().join("sandboxes/.removed/s")).unwrap();
        fs_err::create_dir_all(state.path().join("pods/p/volumes/v/upper")).unwrap();
        fs_err::create_dir_all(state.path().join("pods/p/containers/name/1")).unwrap();
        fs_err::write(sandbox.join("file"), vec![1; 100_000]).unwrap();
        let layers = WritableLayers::new(state.path());
        let measured = layers.usage().await.unwrap();
        assert_eq!(measured.all.inodes, 3);
        assert!(measured.all.bytes >= 100_000);
        assert_eq!(measured.of(&pod).unwrap().inodes, 1);
        assert_eq!(measured.of(state.path()), None);

        fs_err::write(pod.join("file"), "x").unwrap();
        assert_eq!(
            layers.usage().await.unwrap().all,
            measured.all,
            "it is new enough"
        );
    }

    #[tokio::test]
    async fn a_node_without_containers_has_none() {
        let state = tempfile::tempdir().unwrap();
        let measured = WritableLayers::new(&state.path().join("none"))
            .usage()
            .await
            .unwrap();
        assert_eq!(measured.all, Usage::default());
    }
}
