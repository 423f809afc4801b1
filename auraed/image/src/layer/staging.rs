//! The places where content is made before it is whole: `ingest/<n>/`.
//!
//! Whatever is in `ingest/` when the store is opened was left by a killed process, and is removed.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::Usage;

/// Makes staging directories. A cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Ingest {
    path: PathBuf,
    counter: Arc<AtomicU64>,
}

/// A directory that is removed when it is dropped, unless it was published. Dropping it blocks.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    usage: Usage,
    published: bool,
}

impl Ingest {
    /// Makes the directory and removes what is in it. Blocks.
    pub(crate) fn open(path: PathBuf) -> io::Result<Ingest> {
        fs_err::create_dir_all(&path)?;
        for entry in fs_err::read_dir(&path)? {
            remove_tree(&entry?.path())?;
        }
        Ok(Ingest {
            path,
            counter: Arc::new(AtomicU64::new(0)),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path that nothing has yet.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.path
            .join(self.counter.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A new directory with the folders that a layer takes.
    pub(crate) fn staging(&self) -> io::Result<Staging> {
        let staging = Staging {
            path: self.fresh(),
            usage: Usage::default(),
            published: false,
        };
        fs_err::create_dir(staging.path())?;
        for (directory, mode) in [(staging.root(), 0o755), (staging.replaced(), 0o700)] {
            fs_err::create_dir(&directory)?;
            fs_err::set_permissions(&directory, std::fs::Permissions::from_mode(mode))?;
        }
        Ok(staging)
    }
}

impl Staging {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The layer itself.
    pub(crate) fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    /// The list of directories that the layer only implies.
    pub(crate) fn implied(&self) -> PathBuf {
        self.path.join("implied")
    }

    /// The list of hard links to what lower layers have.
    pub(crate) fn links(&self) -> PathBuf {
        self.path.join("links")
    }

    /// The list of directories that names are deleted in.
    pub(crate) fn deleted_in(&self) -> PathBuf {
        self.path.join("deleted-in")
    }

    /// Says that some of its directories hide what lower layers have in them.
    pub(crate) fn opaque(&self) -> PathBuf {
        self.path.join("opaque")
    }

    /// What it takes on the disk, written down so that nobody has to look again.
    pub(crate) fn set_usage(&mut self, usage: Usage) -> io::Result<()> {
        self.usage = usage;
        fs_err::write(self.path.join("usage"), usage.to_string())
    }

    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// Rubbish of the unpacking.
    pub(crate) fn replaced(&self) -> PathBuf {
        self.path.join("replaced")
    }

    pub(crate) fn remove_replaced(&self) {
        report(remove_tree(&self.replaced()), &self.replaced());
    }

    /// Moves the directory to its final place, at once.
    pub(crate) fn publish(mut self, target: &Path) -> io::Result<()> {
        fs_err::rename(&self.path, target)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            report(remove_tree(&self.path), &self.path);
        }
    }
}

fn report(result: io::Result<()>, path: &Path) {
    if let Err(error) = result {
        tracing::warn!(path = %path.display(), %error, "cannot remove; the next start of the daemon tries again");
    }
}

/// Removes a file or a directory with everything in it, however deep. Blocks.
///
/// The standard library keeps one descriptor open for each level, and a hostile layer has more levels than a process
/// has descriptors. So the way down is taken only so far; what is deeper is moved up beside the top first. The names at
/// the top must be this crate's own, so that none is in the way there.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs_err::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_dir() => return fs_err::remove_file(path),
        Ok(_) => {}
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(path, flags, Mode::empty())?;
    let mut moved = 0;
    loop {
        empty(&top, &top, 0, &mut moved)?;
        match rustix::fs::unlinkat(rustix::fs::CWD, path, AtFlags::REMOVEDIR) {
            Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {}
            result => return Ok(result?),
        }
    }
}

const DEEPEST: u32 = 64;

/// Removes what is in `directory`; subdirectories deeper than [`DEEPEST`] are moved to `top` instead.
fn empty(directory: &OwnedFd, top: &OwnedFd, depth: u32, moved: &mut u64) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            kind => kind,
        };
        if kind != FileType::Directory {
            rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
        } else if depth == DEEPEST {
            *moved += 1;
            rustix::fs::renameat(directory, name, top, format!(".removing-{moved}"))?;
        } else {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let child = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            empty(&child, top, depth + 1, moved)?;
            rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_there_are_descriptors_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs_err::create_dir(&tree).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut current = rustix::fs::open(&tree, flags, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&current, "d", Mode::from_raw_mode(0o755)).unwrap();
            current = rustix::fs::openat(&current, "d", flags, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn what_a_killed_process_left_is_removed_on_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ingest");
        fs_err::create_dir_all(path.join("7/root/a")).unwrap();
        fs_err::write(path.join("stray"), "x").unwrap();
        let ingest = Ingest::open(path.clone()).unwrap();
        assert_eq!(fs_err::read_dir(&path).unwrap().count(), 0);
        let staging = ingest.staging().unwrap();
        let kept = ingest.staging().unwrap();
        drop(staging);
        kept.publish(&directory.path().join("kept")).unwrap();
        assert_eq!(fs_err::read_dir(&path).unwrap().count(), 0);
        assert!(directory.path().join("kept/root").is_dir());
    }
}
