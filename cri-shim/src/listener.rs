//! The CRI's socket.
//!
//! A lock beside it says who serves: the lock is the kernel's and ends with its process, so a socket without a locked lock
//! is one that a killed shim left, and is replaced. Something else in its place is left as it is.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::Stream;

/// Root, and who shares the shim's group.
const MODE: u32 = 0o660;

/// How long to wait after a failed accept: only a lack of descriptors or memory makes it fail again and again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process serves it.
    #[error("the socket {} is in use by another process: stop it, or give another --listen", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is in its place.
    #[error("{} is there and is no socket: move it away, or give another --listen", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot open the socket {}", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// An open socket. Dropping it takes it off the file system.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Held until the end.
    _lock: File,
}

impl Listener {
    /// Opens the socket, in place of one that nobody serves any more.
    pub(crate) async fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |source| BindError::Bind {
            path: path.to_owned(),
            source,
        };
        let in_use = || BindError::InUse {
            path: path.to_owned(),
        };
        make_directory(path).map_err(failed)?;
        let lock = lock(path).map_err(failed)?.ok_or_else(in_use)?;
        match fs_err::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::Occupied {
                    path: path.to_owned(),
                });
            }
            // Another program than a shim might serve it, which knows nothing of the lock.
            Ok(_) => match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs_err::remove_file(path).map_err(failed)?;
                }
                Err(source) => return Err(failed(source)),
                Ok(_) => return Err(in_use()),
            },
        }
        let listener = Self {
            socket: UnixListener::bind(path).map_err(failed)?,
            path: path.to_owned(),
            _lock: lock,
        };
        fs_err::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
        Ok(listener)
    }

    /// Connections, for ever.
    pub(crate) fn connections(self) -> impl Stream<Item = io::Result<UnixStream>> {
        futures_util::stream::unfold(self, async |listener| {
            loop {
                match listener.socket.accept().await {
                    Ok((stream, _)) => return Some((Ok(stream), listener)),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Whoever comes next finds it gone or finds nobody behind it; both will do.
        let _ = fs_err::remove_file(&self.path);
    }
}

/// Makes the socket's own directory where it is missing; what is above that is somebody else's.
fn make_directory(socket: &Path) -> io::Result<()> {
    let Some(directory) = socket.parent() else {
        return Ok(());
    };
    match fs_err::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// `None` while another process has it.
fn lock(socket: &Path) -> io::Result<Option<File>> {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(name)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cri.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = Listener::bind(&path).await.unwrap();
        assert_eq!(
            fs_err::metadata(&path).unwrap().permissions().mode() & 0o777,
            MODE
        );
        assert!(matches!(
            Listener::bind(&path).await,
            Err(BindError::InUse { .. })
        ));
        drop(first);
        assert!(!path.exists());
        drop(Listener::bind(&path).await.unwrap());
    }

    #[tokio::test]
    async fn a_missing_directory_is_made_and_no_more_than_that() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cri-shim/cri.sock");
        drop(Listener::bind(&path).await.unwrap());
        drop(Listener::bind(&path).await.unwrap());
        let deeper = directory.path().join("not/there/cri.sock");
        assert!(matches!(
            Listener::bind(&deeper).await,
            Err(BindError::Bind { .. })
        ));
        assert!(!directory.path().join("not").exists());
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cri.sock");
        fs_err::write(&path, "precious").unwrap();
        assert!(matches!(
            Listener::bind(&path).await,
            Err(BindError::Occupied { .. })
        ));
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "precious");
        fs_err::remove_file(&path).unwrap();
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(
            Listener::bind(&path).await,
            Err(BindError::InUse { .. })
        ));
        drop(other);
    }
}
