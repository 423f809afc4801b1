//! Files that must not be lost or read by others: replaced atomically, on the disk before they are used.

use crate::{IdentityError, Owner};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Held while the directory's files are looked at and changed. The kernel frees it with the process.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Waits for whoever has it.
    pub(crate) fn take(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(".lock");
        let locked = open_lock(&path).and_then(|file| {
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        });
        locked
            .map(|file| Self { _file: file })
            .map_err(|source| IdentityError::Lock { path, source })
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Makes a directory, with those above it, that nobody else may enter. One that is there keeps its mode.
pub(crate) fn make_private_directory(path: &Path) -> Result<(), IdentityError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| IdentityError::Directory {
            path: path.to_owned(),
            source,
        })
}

/// Reads a file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match File::open(path).and_then(io::read_to_string) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Replaces the file at `path`: whoever opens it sees all of the old or all of the new, also after a power loss.
pub(crate) fn write(
    path: &Path,
    content: &str,
    mode: u32,
    owner: Option<Owner>,
) -> Result<(), IdentityError> {
    let failed = |source| IdentityError::Write {
        path: path.to_owned(),
        source,
    };
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    let new = directory.join(hidden);
    replace(&new, path, directory, content, mode, owner).map_err(|source| {
        let _ = std::fs::remove_file(&new);
        failed(source)
    })
}

fn replace(
    new: &Path,
    path: &Path,
    directory: &Path,
    content: &str,
    mode: u32,
    owner: Option<Owner>,
) -> io::Result<()> {
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // create_new follows no link, so an owner of the directory cannot point root's write elsewhere.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(new)?;
    // The umask may have taken bits that are wanted.
    file.set_permissions(Permissions::from_mode(mode))?;
    if let Some(owner) = owner {
        fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs_err::rename(new, path)?;
    File::open(directory)?.sync_all()
}
