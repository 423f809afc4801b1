//! A directory that is empty when its pod starts and gone when the pod is.

use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

/// Everybody may write: which users a pod's containers run as is not known here.
pub const MODE: u32 = 0o777;
/// With a group of the pod, what is made inside belongs to that group.
pub const GROUP_MODE: u32 = 0o2777;

/// Makes the directory where it is not there yet; what it holds stays, so that a restarted daemon changes nothing.
///
/// # Errors
/// What the system says, with the path.
pub fn create(path: &Path, fs_group: Option<u32>) -> io::Result<()> {
    match fs_err::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    if fs_group.is_some() {
        chown(path, None, fs_group)?;
    }
    // Not left to mkdir, whose mode the umask cuts.
    let mode = if fs_group.is_some() { GROUP_MODE } else { MODE };
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Removes the directory with all that containers left in it, following no link. A missing one is no error.
///
/// # Errors
/// What the system says, with the path.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn mode(path: &Path) -> u32 {
        fs_err::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn everybody_may_write_whatever_the_umask_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("v");
        create(&path, None).unwrap();
        assert_eq!(mode(&path), 0o777);
    }

    #[test]
    fn a_group_owns_what_is_made_inside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("v");
        create(&path, Some(1234)).unwrap();
        assert_eq!(
            (mode(&path), fs_err::metadata(&path).unwrap().gid()),
            (0o2777, 1234)
        );
    }

    #[test]
    fn content_survives_a_second_call_and_no_link_is_followed_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("v");
        let outside = directory.path().join("outside");
        fs_err::create_dir(&outside).unwrap();
        fs_err::write(outside.join("kept"), "").unwrap();
        create(&path, None).unwrap();
        fs_err::os::unix::fs::symlink(&outside, path.join("link")).unwrap();
        create(&path, None).unwrap();
        assert!(path.join("link").exists());
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists() && outside.join("kept").exists());
    }
}
