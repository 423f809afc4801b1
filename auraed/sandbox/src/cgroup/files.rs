//! Reading and writing the kernel's files, with the path in every error.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::{Error, io_error};

/// A component of a group's path: not empty, no separator, nothing that leads elsewhere.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let fits = !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains(['/', '\0', '\n']);
    if fits {
        Ok(())
    } else {
        Err(Error::Name(name.to_owned()))
    }
}

/// The whole text of a file.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    // Without fs-err, whose wrapper would put the path into the error a second time.
    #[expect(clippy::disallowed_methods, reason = "the error gets its path here")]
    std::fs::read_to_string(path).map_err(io_error("read", path))
}

/// Writes a value in one system call.
pub(super) fn write(path: &Path, value: &str) -> Result<(), Error> {
    write_all(path, [value.to_owned()])
}

/// Writes several values through one descriptor, one system call each.
pub(super) fn write_all(path: &Path, values: impl IntoIterator<Item = String>) -> Result<(), Error> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(io_error("open", path))?;
    values
        .into_iter()
        .try_for_each(|value| file.write_all(value.as_bytes()))
        .map_err(io_error("write", path))
}

/// The groups below; none if the directory is gone.
pub(super) fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let entries = entries.filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The system's error number behind a failed file operation.
pub(super) fn errno(error: &Error) -> Option<i32> {
    match error {
        Error::Io { source, .. } => source.raw_os_error(),
        _ => None,
    }
}

/// The group went away: before an open, or between open and read.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}
