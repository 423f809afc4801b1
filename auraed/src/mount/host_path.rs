//! A path of the node, as it is. What must be there is checked, and made where the type says so; nothing is ever removed
//! or given to another owner.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use auraed_types::pod::HostPathType;

/// Why a host path cannot be mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostPathError {
    /// Something else is there, or nothing.
    #[error("hostPath type check failed: {path} is not {wanted}, {found}")]
    Type {
        /// The path.
        path: String,
        /// What must be there, with its article.
        wanted: &'static str,
        /// What is there instead.
        found: String,
    },
    /// It could not be looked at or made.
    #[error("cannot use host path {path}")]
    Io {
        /// The path.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Makes sure that at `path` is what `kind` says.
///
/// # Errors
/// [`HostPathError`].
pub fn prepare(path: &str, kind: HostPathType) -> Result<(), HostPathError> {
    make_missing(path, kind).map_err(|source| HostPathError::Io {
        path: path.to_owned(),
        source,
    })?;
    let (wanted, right): (_, fn(&FileType) -> bool) = match kind {
        HostPathType::Unchecked => return Ok(()),
        HostPathType::DirectoryOrCreate | HostPathType::Directory => ("a directory", FileType::is_dir),
        HostPathType::FileOrCreate | HostPathType::File => ("a file", FileType::is_file),
        HostPathType::Socket => ("a socket", FileType::is_socket),
        HostPathType::CharacterDevice => ("a character device", FileType::is_char_device),
        HostPathType::BlockDevice => ("a block device", FileType::is_block_device),
    };
    let found = match fs_err::metadata(path) {
        Ok(metadata) if right(&metadata.file_type()) => return Ok(()),
        Ok(metadata) => format!("it's {}", describe(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "it does not exist".into(),
        Err(source) => {
            return Err(HostPathError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    Err(HostPathError::Type {
        path: path.to_owned(),
        wanted,
        found,
    })
}

fn make_missing(path: &str, kind: HostPathType) -> io::Result<()> {
    let made = match kind {
        HostPathType::Unchecked | HostPathType::DirectoryOrCreate if !Path::new(path).exists() => {
            fs_err::create_dir_all(path)?;
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        }
        // Its directory must be there: a slip in the path shall not leave a tree behind.
        HostPathType::FileOrCreate => std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
            .map(drop),
        _ => Ok(()),
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_file() => "a file",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() => "a character device",
        kind if kind.is_block_device() => "a block device",
        kind if kind.is_fifo() => "a pipe",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_must_be_what_is_wanted() {
        assert!(prepare("/dev/null", HostPathType::CharacterDevice).is_ok());
        let error = prepare("/dev/null", HostPathType::Directory).unwrap_err();
        assert_eq!(
            error.to_string(),
            "hostPath type check failed: /dev/null is not a directory, it's a character device"
        );
        let error = prepare("/nonexistent", HostPathType::File).unwrap_err();
        assert_eq!(
            error.to_string(),
            "hostPath type check failed: /nonexistent is not a file, it does not exist"
        );
    }

    #[test]
    fn missing_ones_are_made_where_the_type_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let below = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        prepare(&below("a/b"), HostPathType::DirectoryOrCreate).unwrap();
        prepare(&below("a/f"), HostPathType::FileOrCreate).unwrap();
        prepare(&below("a/f"), HostPathType::FileOrCreate).unwrap();
        prepare(&below("c/d"), HostPathType::Unchecked).unwrap();
        assert!(Path::new(&below("c/d")).is_dir());
        assert!(prepare(&below("x/f"), HostPathType::FileOrCreate).is_err());
        assert!(!Path::new(&below("x")).exists());
    }
}
