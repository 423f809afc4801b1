//! The Unix socket and the handshakes on it.
//!
//! Each handshake has a task and five seconds of its own; a bounded number is under way at once, and while that many
//! are, the kernel's queue holds the rest.

use super::peer::{Connection, Peer};
use auraed_identity::{Identity, InvalidClientId};
use rustls::ServerConfig;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Handshakes that are under way at once.
const HANDSHAKES: usize = 128;

/// Connections that wait for the HTTP/2 server to take them.
const WAITING: usize = 32;

/// How long to wait after a failed accept: only a lack of descriptors or memory makes it fail again and again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process serves it.
    #[error("the socket {} is in use by another process: stop it, or give another --socket", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is in its place.
    #[error("{} is there and is no socket: move it away, or give another --socket", path.display())]
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

/// The API's socket. Dropping it takes it off the file system.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Opens the socket, in place of one that a dead daemon left. The guard is mTLS, so every user may connect.
    ///
    /// # Errors
    /// [`BindError`]; what is in the way is left as it is.
    pub async fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |source| BindError::Bind {
            path: path.to_owned(),
            source,
        };
        match fs_err::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::Occupied {
                    path: path.to_owned(),
                });
            }
            Ok(_) => match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs_err::remove_file(path).map_err(failed)?;
                }
                Err(source) => return Err(failed(source)),
                Ok(_) => {
                    return Err(BindError::InUse {
                        path: path.to_owned(),
                    });
                }
            },
        }
        let socket = UnixListener::bind(path).map_err(failed)?;
        let listener = Self {
            socket,
            path: path.to_owned(),
        };
        fs_err::set_permissions(path, Permissions::from_mode(0o666)).map_err(failed)?;
        Ok(listener)
    }

    /// Accepts until `stop` is cancelled. The task ends then, and the socket's file is gone.
    pub(crate) fn accept(
        self,
        tls: ServerConfig,
        identity: Arc<Identity>,
        stop: CancellationToken,
    ) -> (
        impl tokio_stream::Stream<Item = io::Result<Connection>>,
        JoinHandle<()>,
    ) {
        let (ready, connections) = mpsc::channel(WAITING);
        let handshake = Handshake {
            tls: TlsAcceptor::from(Arc::new(tls)),
            identity,
            ready,
        };
        let accepting = tokio::spawn(async move {
            let accept = accept_all(&self.socket, handshake);
            stop.run_until_cancelled(accept).await;
        });
        (ReceiverStream::new(connections).map(Ok), accepting)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs_err::remove_file(&self.path);
    }
}

async fn accept_all(socket: &UnixListener, handshake: Handshake) {
    let permits = Arc::new(Semaphore::new(HANDSHAKES));
    // Never closed, so there is always a permit to come.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match socket.accept().await {
            Ok((stream, _)) => {
                let handshake = handshake.clone();
                tokio::spawn(async move {
                    handshake.run(stream).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What a handshake needs.
#[derive(Clone)]
struct Handshake {
    tls: TlsAcceptor,
    identity: Arc<Identity>,
    ready: mpsc::Sender<Connection>,
}

impl Handshake {
    async fn run(self, stream: UnixStream) {
        let credentials = stream.peer_cred().ok();
        let uid = credentials.map(|peer| peer.uid());
        let pid = credentials.and_then(|peer| peer.pid());
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            // Somebody looked whether the socket is served, and went.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            Ok(Err(error)) => return tracing::warn!(%error, uid, pid, "a client's handshake failed"),
            Err(_) => return tracing::warn!(uid, pid, "a client did not finish its handshake in time"),
        };
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first());
        let client = match certificate {
            Some(certificate) => self.identity.client_of(certificate),
            None => Err(InvalidClientId::Certificate),
        };
        // Refused only when the server is gone.
        let _ = self
            .ready
            .send(Connection::new(stream, Peer { client, uid, pid }))
            .await;
    }
}
