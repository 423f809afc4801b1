//! Small file operations of the engines. All block for as long as the disk takes: never call them on an async thread
//! for paths that are not in memory.

use std::ffi::OsStr;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// Writes a file whole or not at all: readers and a crash see the old or the new content.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let mut options = fs_err::OpenOptions::new();
    fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let mut file = options.write(true).create(true).truncate(true).open(temporary)?;
    file.write_all(content)?;
    // An older one may have had other rights; and the umask cuts those of a new one.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    fs_err::rename(temporary, path)
}

/// Makes a directory and those above it; what it makes is for root alone.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Removes a directory with all that is in it, following no link. A missing one is no error.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes what is in a directory but what `keep` names, following no link. What does not go is logged, and is in no
/// other's way.
pub(crate) fn empty(directory: &Path, keep: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        if keep(&entry.file_name()) {
            continue;
        }
        let removed = match entry.file_type() {
            Ok(kind) if !kind.is_dir() => fs_err::remove_file(entry.path()),
            _ => remove_tree(&entry.path()),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, "what belongs to nobody is left");
        }
    }
    Ok(())
}

/// The last bytes of a file, at most `limit`; and whether there are more before them. A missing file is empty.
pub(crate) fn tail(path: &Path, limit: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut file = match fs_err::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), false)),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    let start = length.saturating_sub(limit);
    file.seek(SeekFrom::Start(start))?;
    let mut content = Vec::new();
    file.take(limit).read_to_end(&mut content)?;
    Ok((content, start > 0))
}

/// The content of a file; absent if there is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs_err::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_is_in_no_others_way() {
        let directory = tempfile::tempdir().unwrap();
        // In whatever order they are listed: one of another kind is between others.
        for number in 0..8 {
            fs_err::create_dir_all(directory.path().join(format!("tree-{number}/deep"))).unwrap();
            fs_err::write(directory.path().join(format!("file-{number}")), "").unwrap();
            let link = directory.path().join(format!("link-{number}"));
            fs_err::os::unix::fs::symlink(directory.path().join("kept"), link).unwrap();
        }
        fs_err::create_dir_all(directory.path().join("kept/inner")).unwrap();
        empty(directory.path(), |name| name == "kept").unwrap();
        let left = fs_err::read_dir(directory.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["kept"]);
        assert!(directory.path().join("kept/inner").exists());
    }
}
