//! A session over WebSocket: channels in messages.

use crate::frame::{self, FromClient};
use crate::options::Options;
use crate::protocol::Protocol;
use crate::session::{CLOSING_TIME, Ends, Size, ToClient};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

/// The largest message that a client may send, in bytes; kubectl sends 32 KiB at most.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Starts the two tasks of a session.
pub(crate) async fn start<S>(connection: S, protocol: Protocol, options: &Options, ends: Ends)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
    let (sink, stream) = socket.split();
    // An empty message on the first channel that is the server's tells the client that the session is open.
    let first = if options.stdout {
        frame::STDOUT
    } else if options.stderr {
        frame::STDERR
    } else {
        frame::ERROR
    };
    let reader = tokio::spawn(read(stream, protocol, ends.stdin, ends.sizes));
    tokio::spawn(write(sink, protocol, first, ends.queue, reader));
}

async fn read<S>(
    mut stream: SplitStream<WebSocketStream<S>>,
    protocol: Protocol,
    mut stdin: Option<mpsc::Sender<Bytes>>,
    sizes: watch::Sender<Option<Size>>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = stream.next().await {
        let data = match message {
            Ok(Message::Binary(data)) => data,
            Ok(Message::Text(text)) => text.into(),
            Ok(Message::Close(_)) => break,
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!(%error, "remote command's connection");
                break;
            }
        };
        match frame::decode(protocol, data) {
            FromClient::Stdin(data) => {
                if let Some(sender) = &stdin
                    && sender.send(data).await.is_err()
                {
                    // The program reads no more: what follows is thrown away, as a closed pipe does.
                    stdin = None;
                }
            }
            FromClient::CloseStdin => stdin = None,
            FromClient::Resize { width, height } => {
                sizes.send_replace(Some(Size { width, height }));
            }
            FromClient::Nothing => {}
        }
    }
}

async fn write<S>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    protocol: Protocol,
    first: u8,
    mut queue: mpsc::Receiver<ToClient>,
    mut reader: tokio::task::JoinHandle<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut sent = sink.send(frame::encode(protocol, first, &[])).await;
    while sent.is_ok() {
        let message = tokio::select! {
            message = queue.recv() => message,
            _ = &mut reader => return,
        };
        sent = match message {
            Some(ToClient::Stdout(data)) => sink.send(frame::encode(protocol, frame::STDOUT, &data)).await,
            Some(ToClient::Stderr(data)) => sink.send(frame::encode(protocol, frame::STDERR, &data)).await,
            Some(ToClient::End(text)) => {
                if end(&mut sink, protocol, text).await.is_ok() {
                    // The client reads all that was sent before it answers; then nothing is lost in the kernel's buffers.
                    let _ = tokio::time::timeout(CLOSING_TIME, &mut reader).await;
                }
                break;
            }
            None => break,
        };
    }
    reader.abort();
}

async fn end<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    protocol: Protocol,
    text: Option<Bytes>,
) -> Result<(), tokio_tungstenite::tungstenite::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(text) = text {
        sink.send(frame::encode(protocol, frame::ERROR, &text)).await?;
    }
    // kubectl takes any other code, and none at all, for a connection that broke.
    let normal = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    sink.send(Message::Close(Some(normal))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use crate::session::{Disconnected, Input, Output, open};
    use tokio::io::DuplexStream;

    type Client = WebSocketStream<DuplexStream>;

    async fn session(protocol: Protocol) -> (Client, Input, Output) {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let options = Options {
            stdin: true,
            stdout: true,
            stderr: true,
            ..Options::default()
        };
        let (input, output) = open(server, protocol, &options).await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Binary(Bytes::from_static(&[1]))
        );
        (client, input, output)
    }

    #[tokio::test]
    async fn input_ends_where_the_client_closes_it() {
        let (mut client, mut input, output) = session(Protocol::V5).await;
        client
            .send(Message::Binary(Bytes::from_static(b"\0hello")))
            .await
            .unwrap();
        client
            .send(Message::Binary(Bytes::from_static(&[255, 0])))
            .await
            .unwrap();
        assert_eq!(input.stdin.recv().await.unwrap(), "hello");
        assert_eq!(input.stdin.recv().await, None);
        output.stdout(b"bye").await.unwrap();
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Binary(Bytes::from_static(b"\x01bye"))
        );
    }

    #[tokio::test]
    async fn the_end_comes_after_all_output_and_then_the_close() {
        let (mut client, _input, output) = session(Protocol::V4).await;
        output.stderr(b"oh").await.unwrap();
        output.finish(&Outcome::Exited(7)).await.unwrap();
        let mut messages = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            messages.push(message);
        }
        assert_eq!(messages[0], Message::Binary(Bytes::from_static(b"\x02oh")));
        let status = messages[1].clone().into_data();
        assert_eq!(status[0], 3);
        assert!(status.windows(8).any(|window| window == b"ExitCode"));
        assert!(messages[2].is_close());
    }

    #[tokio::test]
    async fn sizes_arrive() {
        let (mut client, mut input, _output) = session(Protocol::V5).await;
        client
            .send(Message::Binary(Bytes::from_static(
                b"\x04{\"Width\":132,\"Height\":43}",
            )))
            .await
            .unwrap();
        input.sizes.changed().await.unwrap();
        assert_eq!(
            *input.sizes.borrow(),
            Some(Size {
                width: 132,
                height: 43
            })
        );
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_noticed() {
        let (client, mut input, output) = session(Protocol::V5).await;
        drop(client);
        output.closed().await;
        assert_eq!(output.stdout(b"x").await, Err(Disconnected));
        assert_eq!(input.stdin.recv().await, None);
    }
}
