//! Tells when files change (inotify). Directories are watched, not files, because files are replaced by renaming: a
//! kubeconfig by an editor, a certificate by its tool, a mounted secret by its kubelet.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};

/// Writers touch several files, or one several times: what follows within this counts as one change.
const SETTLE: Duration = Duration::from_millis(50);

/// Why changes cannot be seen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The kernel gives no watch: fs.inotify.max_user_instances or max_user_watches is used up.
    #[error("cannot watch for changes (see sysctl fs.inotify.max_user_instances)")]
    Inotify(#[source] io::Error),
    /// The directory cannot be watched.
    #[error("cannot watch {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A stream of "something changed".
pub struct Changes(EventStream<[u8; 4096]>);

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changes")
    }
}

impl Changes {
    /// Watches the directories that the files are in.
    ///
    /// # Errors
    /// [`WatchError`], where the kernel refuses.
    pub fn of_files(files: &[PathBuf]) -> Result<Changes, WatchError> {
        let parent = |file: &PathBuf| match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Changes::of(files.iter().map(parent).collect())
    }

    /// Watches one directory.
    ///
    /// # Errors
    /// [`WatchError`], where the kernel refuses.
    pub fn of_directory(directory: &Path) -> Result<Changes, WatchError> {
        Changes::of(BTreeSet::from([directory.to_owned()]))
    }

    fn of(directories: BTreeSet<PathBuf>) -> Result<Changes, WatchError> {
        let inotify = Inotify::init().map_err(WatchError::Inotify)?;
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::ONLYDIR;
        for path in directories {
            let added = inotify.watches().add(&path, mask);
            added.map_err(|source| WatchError::Directory { path, source })?;
        }
        inotify
            .into_event_stream([0; 4096])
            .map(Changes)
            .map_err(WatchError::Inotify)
    }

    /// Returns after a change, once it is quiet for a moment. Changes between two calls are not lost.
    pub async fn next(&mut self) {
        self.wait().await;
        while tokio::time::timeout(SETTLE, self.wait()).await.is_ok() {}
    }

    async fn wait(&mut self) {
        if self.0.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replaced_file_is_a_change() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("config");
        let mut changes = Changes::of_files(std::slice::from_ref(&file)).expect("a watch");
        fs_err::write(directory.path().join("new"), "1").expect("written");
        fs_err::rename(directory.path().join("new"), &file).expect("renamed");
        tokio::time::timeout(Duration::from_secs(10), changes.next())
            .await
            .expect("a change is seen");
    }

    #[tokio::test]
    async fn a_missing_directory_is_an_error() {
        let error = Changes::of_directory(Path::new("/nonexistent/here")).expect_err("no such directory");
        assert_eq!(error.to_string(), "cannot watch /nonexistent/here");
    }
}
