//! A byte stream in the binary messages of a WebSocket connection (`SPDY/3.1+portforward.k8s.io`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::{Sink as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::websocket;

/// The server's end. Shutting it down says that all is well, and closes.
#[derive(Debug)]
pub(crate) struct Tunnel<S> {
    socket: WebSocketStream<S>,
    /// What was not read yet of a message.
    message: Bytes,
    closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tunnel<S> {
    /// Of a connection whose handshake is over.
    pub(crate) async fn new(connection: S) -> Self {
        Self::of(websocket::accept(connection).await)
    }

    pub(crate) fn of(socket: WebSocketStream<S>) -> Self {
        Self {
            socket,
            message: Bytes::new(),
            closing: false,
        }
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        message: impl FnOnce() -> Message,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(broken)?;
        Poll::Ready(Pin::new(&mut self.socket).start_send(message()).map_err(broken))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.message.is_empty() {
            match ready!(Pin::new(&mut this.socket).poll_next(context)) {
                Some(Ok(Message::Binary(data))) => this.message = data,
                Some(Ok(Message::Text(_))) => {
                    let reason = "a text message in a tunnel";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, reason)));
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let count = this.message.len().min(buffer.remaining());
        buffer.put_slice(&this.message[..count]);
        this.message.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let message = || Message::Binary(Bytes::copy_from_slice(data));
        ready!(self.get_mut().poll_send(context, message))?;
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket)
            .poll_flush(context)
            .map_err(broken)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            ready!(this.poll_send(context, websocket::close))?;
            this.closing = true;
        }
        Pin::new(&mut this.socket).poll_flush(context).map_err(broken)
    }
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[tokio::test]
    async fn bytes_are_bytes_however_they_are_packed() {
        let (client, server) = tokio::io::duplex(1024);
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let mut tunnel = Tunnel::new(server).await;
        for part in ["ab", "", "cdef"] {
            client.send(Message::binary(part)).await.unwrap();
        }
        let mut read = [0; 5];
        tunnel.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"abcde");
        tunnel.write_all(b"answer").await.unwrap();
        tunnel.shutdown().await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::binary("answer"));
        assert!(client.next().await.unwrap().unwrap().is_close());
        drop(client);
        let mut rest = Vec::new();
        let _ = tunnel.read_to_end(&mut rest).await;
        assert_eq!(rest, b"f");
    }

    #[tokio::test]
    async fn text_has_no_place_in_it() {
        let (client, server) = tokio::io::duplex(1024);
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let mut tunnel = Tunnel::new(server).await;
        client.send(Message::text("x")).await.unwrap();
        assert_eq!(
            tunnel.read_u8().await.unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
