//! The daemon's directories, made and guarded before anything is put into them.

use super::DaemonError;
use crate::config::Config;
use rustix::mount::{MountFlags, UnmountFlags};
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// linux/magic.h.
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;

/// Makes the three directories with their modes. What is there is kept; a state directory is closed to others.
pub(super) fn make(config: &Config) -> Result<(), DaemonError> {
    directory(&config.state_dir, 0o700, "--state-dir")?;
    directory(&config.run_dir, 0o755, "--run-dir")?;
    directory(&config.log_dir, 0o755, "--log-dir")?;
    directory(&pods(config), 0o700, "--run-dir")
}

/// Values that may not reach a disk are kept below `run_dir/pods`: where that is no memory, a tmpfs is mounted on it.
/// One that an earlier daemon mounted is used again.
pub(super) fn ensure_memory(config: &Config) -> Result<(), DaemonError> {
    let path = pods(config);
    let failed = |source| DaemonError::Memory {
        path: path.clone(),
        source,
    };
    if is_memory(&path).map_err(failed)? {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", &path, "tmpfs", flags, Some(c"mode=0700"))
        .map_err(|error| failed(error.into()))?;
    tracing::info!(path = %path.display(), "mounted a file system in memory");
    Ok(())
}

/// Unmounts what [`ensure_memory`] mounted, if nothing is in it. A pod's processes may still hold it: then it stays.
pub(super) fn release_memory(config: &Config) {
    let path = pods(config);
    let empty = fs_err::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
    if empty
        && is_mount_point(&path)
        && let Err(error) = rustix::mount::unmount(&path, UnmountFlags::NOFOLLOW)
    {
        tracing::debug!(path = %path.display(), %error, "the file system in memory stays");
    }
}

/// Takes the file system in memory away with whatever is left in it, once no pod is left.
pub(super) fn discard_memory(config: &Config) {
    let path = pods(config);
    if is_mount_point(&path)
        && let Err(error) = rustix::mount::unmount(&path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
    {
        tracing::warn!(path = %path.display(), %error, "the file system in memory stays");
    }
}

/// Where pods keep what must be in memory.
pub(super) fn pods(config: &Config) -> PathBuf {
    config.run_dir.join("pods")
}

fn directory(path: &Path, mode: u32, flag: &'static str) -> Result<(), DaemonError> {
    let failed = |source| DaemonError::Directory {
        path: path.to_owned(),
        flag,
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(failed)?;
    let found = std::fs::metadata(path).map_err(failed)?;
    if !found.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    // The umask may have taken bits, and a directory that was there may be open to others.
    let tighter = mode == 0o700 && found.mode() & 0o077 != 0;
    if tighter || found.mode() & 0o700 != 0o700 {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    }
    Ok(())
}

fn is_memory(path: &Path) -> io::Result<bool> {
    // The kernel's type for this differs between architectures; the numbers are 32 bits in all.
    let kind = rustix::fs::statfs(path)?.f_type as u64 & 0xffff_ffff;
    Ok(kind == TMPFS_MAGIC || kind == RAMFS_MAGIC)
}

fn is_mount_point(path: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev());
    match (device(path), path.parent().map(device)) {
        (Ok(own), Some(Ok(above))) => own != above,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_from_disk() {
        assert!(is_memory(Path::new("/dev/shm")).unwrap());
        assert!(!is_memory(Path::new("/proc")).unwrap());
        assert!(is_memory(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn a_state_directory_is_closed_to_others() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .unwrap();
        directory(&path, 0o700, "--state-dir").unwrap();
        assert_eq!(fs_err::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_a_directorys_place_is_told() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        fs_err::write(&path, "").unwrap();
        let error = directory(&path, 0o700, "--state-dir").unwrap_err().to_string();
        assert!(error.ends_with("file: give another --state-dir"), "{error}");
    }
}
