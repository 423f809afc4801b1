//! The Unix socket and the handshakes on it.
//!
//! Each handshake has a task and five seconds of its own. Every user may have a bounded number of them under way, so that
//! one who opens connections and says nothing is in nobody's way but his own.

use super::peer::{Connection, Peer};
use auraed_identity::{Identity, InvalidClientId};
use rustls::ServerConfig;
use std::collections::HashMap;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Handshakes that one user may have under way at once.
const HANDSHAKES: usize = 64;

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
    let underway = Underway::default();
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                let credentials = stream.peer_cred().ok();
                let user = credentials.map(|peer| peer.uid());
                let process = credentials.and_then(|peer| peer.pid());
                match underway.begin(user) {
                    Some(place) => {
                        let handshake = handshake.clone();
                        tokio::spawn(async move {
                            handshake.run(stream, user, process).await;
                            drop(place);
                        });
                    }
                    None => tracing::debug!(uid = user, pid = process, "a user opens too many connections"),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// How many handshakes each user has under way.
#[derive(Clone, Default)]
struct Underway(Arc<Mutex<HashMap<Option<u32>, usize>>>);

/// One handshake's place among its user's.
struct Place {
    underway: Underway,
    user: Option<u32>,
}

impl Underway {
    /// `None` if the user has as many as one may.
    fn begin(&self, user: Option<u32>) -> Option<Place> {
        let mut users = self.users();
        let count = users.entry(user).or_default();
        if *count >= HANDSHAKES {
            return None;
        }
        *count += 1;
        Some(Place {
            underway: self.clone(),
            user,
        })
    }

    /// A poisoned lock means that a panic hit between two changes of a map, which is still a map.
    fn users(&self) -> MutexGuard<'_, HashMap<Option<u32>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.underway.users();
        if let Some(count) = users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user);
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
    async fn run(self, stream: UnixStream, uid: Option<u32>, pid: Option<i32>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_users_handshakes_are_counted_alone() {
        let underway = Underway::default();
        let mut places: Vec<_> = (0..HANDSHAKES)
            .map(|_| underway.begin(Some(1000)).unwrap())
            .collect();
        assert!(underway.begin(Some(1000)).is_none());
        assert!(underway.begin(Some(0)).is_some());
        places.pop();
        assert!(underway.begin(Some(1000)).is_some());
        places.clear();
        assert!(underway.users().is_empty());
    }
}
