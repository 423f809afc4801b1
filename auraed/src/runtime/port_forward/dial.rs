//! A connection that is made inside of another network namespace and used from here.

use rustix::fd::{AsFd as _, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

/// How long the other end may take. It is on the same machine; only a packet filter makes one wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The network cannot be entered.
    #[error("cannot enter the pod's network")]
    Namespace(#[source] io::Error),
    /// Nobody listens, mostly.
    #[error("127.0.0.1: {ipv4}; ::1: {ipv6}")]
    Refused {
        /// At 127.0.0.1.
        ipv4: io::Error,
        /// At ::1.
        ipv6: io::Error,
    },
}

/// A socket of each family.
struct Sockets {
    ipv4: io::Result<OwnedFd>,
    ipv6: io::Result<OwnedFd>,
}

/// Connects to a port at 127.0.0.1, then ::1, of a network namespace.
pub(super) async fn dial(namespace: OwnedFd, port: u16) -> Result<TcpStream, DialError> {
    let sockets = make(namespace).await.map_err(DialError::Namespace)?;
    let ipv4 = match connect(sockets.ipv4, (Ipv4Addr::LOCALHOST, port).into()).await {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    connect(sockets.ipv6, (Ipv6Addr::LOCALHOST, port).into())
        .await
        .map_err(|ipv6| DialError::Refused { ipv4, ipv6 })
}

/// A socket belongs to the network namespace of the thread that makes it, wherever it is used.
async fn make(namespace: OwnedFd) -> io::Result<Sockets> {
    let (sender, receiver) = oneshot::channel();
    // A thread that has left the daemon's namespace must not be used for anything else, so it ends here.
    let thread = std::thread::Builder::new().name("port-forward".to_owned());
    thread.spawn(move || {
        let made = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map(|()| {
            let socket = |family| Ok(socket_with(family, SocketType::STREAM, FLAGS, None)?);
            Sockets {
                ipv4: socket(AddressFamily::INET),
                ipv6: socket(AddressFamily::INET6),
            }
        });
        // Nobody waits any more: the sockets close.
        let _ = sender.send(made);
    })?;
    Ok(receiver.await.map_err(io::Error::other)??)
}

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

async fn connect(socket: io::Result<OwnedFd>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket?));
    let connecting = tokio::time::timeout(PATIENCE, socket.connect(address));
    let stream = connecting
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn own_namespace() -> OwnedFd {
        rustix::fs::open(
            "/proc/self/ns/net",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap()
    }

    #[tokio::test]
    async fn either_family_of_addresses_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(address).await else {
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let accepting = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(b"here").await.unwrap();
            });
            let mut stream = dial(own_namespace(), port).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "here", "{address}");
            accepting.await.unwrap();
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_both_reasons_are_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = dial(own_namespace(), port).await.unwrap_err().to_string();
        assert!(error.starts_with("127.0.0.1: Connection refused"), "{error}");
    }
}
