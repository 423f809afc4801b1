//! Who is at the other end of a connection: what the certificate says, and what the kernel says.

use auraed_identity::{ClientId, InvalidClientId};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// The other end of a connection. Part of every request's extensions.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Whom the certificate names; the authority's signature on it was verified.
    pub client: Result<ClientId, InvalidClientId>,
    /// The user that opened the socket, if the kernel tells.
    pub uid: Option<u32>,
    /// The process that opened the socket, if the kernel tells. It may have ended since.
    pub pid: Option<i32>,
}

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TlsStream<UnixStream>,
    peer: Peer,
}

impl Connection {
    pub(crate) fn new(stream: TlsStream<UnixStream>, peer: Peer) -> Self {
        Self { stream, peer }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
