//! A session over WebSocket: channels in messages.

use crate::activity::{Activity, PING_TIME};
use crate::frame::{self, FromClient};
use crate::options::Options;
use crate::protocol::Protocol;
use crate::session::{CLOSING_TIME, Ends, Size, ToClient};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

/// The largest message that a client may send, in bytes; kubectl sends 32 KiB at most, others whole files.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that are read at once. A session that stands still keeps them.
const READ: usize = 16 * 1024;
/// The largest piece of input that waits for the program, in bytes.
const CHUNK: usize = 32 * 1024;

/// The server's side of a WebSocket connection whose handshake is over.
pub(crate) async fn accept<S>(connection: S) -> WebSocketStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await
}

/// Starts the two tasks of a session.
pub(crate) async fn start<S>(connection: S, protocol: Protocol, options: &Options, ends: Ends)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, stream) = accept(connection).await.split();
    // An empty message on the first channel that is the server's tells the client that the session is open.
    let first = if options.stdout {
        frame::STDOUT
    } else if options.stderr {
        frame::STDERR
    } else {
        frame::ERROR
    };
    let activity = Activity::new();
    let reader = Reader {
        stream,
        protocol,
        stdin: ends.stdin,
        sizes: ends.sizes,
        activity: activity.clone(),
    };
    let reader = tokio::spawn(reader.run());
    let writer = Writer {
        sink,
        protocol,
        activity,
        reader,
    };
    tokio::spawn(writer.run(first, ends.queue));
}

/// The next data message; None at the end, whatever kind of end it is.
pub(crate) async fn next<S>(
    stream: &mut SplitStream<WebSocketStream<S>>,
    activity: &Activity,
) -> Option<Bytes>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let message = stream.next().await?;
        // The answer to a ping of ours is no word of the client's own.
        if !matches!(message, Ok(Message::Pong(_))) {
            activity.touch();
        }
        match message {
            Ok(Message::Binary(data)) => return Some(data),
            Ok(Message::Text(text)) => return Some(text.into()),
            Ok(Message::Close(_)) => return None,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "a connection broke");
                return None;
            }
        }
    }
}

/// The task that reads.
struct Reader<S> {
    stream: SplitStream<WebSocketStream<S>>,
    protocol: Protocol,
    stdin: Option<mpsc::Sender<Bytes>>,
    sizes: watch::Sender<Option<Size>>,
    activity: Activity,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    async fn run(mut self) {
        while let Some(message) = next(&mut self.stream, &self.activity).await {
            match frame::decode(self.protocol, message) {
                FromClient::Stdin(data) => self.feed(data).await,
                FromClient::CloseStdin => self.stdin = None,
                FromClient::Resize { width, height } => {
                    self.sizes.send_replace(Some(Size { width, height }));
                }
                FromClient::Nothing => {}
            }
        }
    }

    async fn feed(&mut self, mut data: Bytes) {
        while let Some(stdin) = &self.stdin
            && !data.is_empty()
        {
            let piece = data.split_to(data.len().min(CHUNK));
            if stdin.send(piece).await.is_err() {
                // The program reads no more: what follows is thrown away, as a closed pipe does.
                self.stdin = None;
            }
        }
    }
}

/// The task that writes.
struct Writer<S> {
    sink: SplitSink<WebSocketStream<S>, Message>,
    protocol: Protocol,
    activity: Activity,
    reader: JoinHandle<()>,
}

impl<S> Drop for Writer<S> {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    async fn run(mut self, first: u8, mut queue: mpsc::Receiver<ToClient>) {
        let mut pings = interval_at(Instant::now() + PING_TIME, PING_TIME);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = self.send(first, &[]).await;
        while sent.is_ok() {
            let message = tokio::select! {
                message = queue.recv() => message,
                _ = pings.tick() => {
                    sent = self.sink.send(Message::Ping(Bytes::new())).await;
                    continue;
                }
                () = self.activity.idle() => None,
                _ = &mut self.reader => return,
            };
            self.activity.touch();
            sent = match message {
                Some(ToClient::Stdout(data)) => self.send(frame::STDOUT, &data).await,
                Some(ToClient::Stderr(data)) => self.send(frame::STDERR, &data).await,
                Some(ToClient::End(text)) => {
                    if end(&mut self.sink, self.protocol, text).await.is_ok() {
                        // The client reads all that was sent before it answers; then nothing is lost in the kernel's
                        // buffers.
                        let _ = timeout(CLOSING_TIME, &mut self.reader).await;
                    }
                    return;
                }
                None => return,
            };
        }
    }

    async fn send(&mut self, channel: u8, data: &[u8]) -> Result<(), tungstenite::Error> {
        self.sink
            .send(frame::encode(self.protocol.is_base64(), channel, data))
            .await
    }
}

async fn end<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    protocol: Protocol,
    text: Option<Bytes>,
) -> Result<(), tungstenite::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(text) = text {
        sink.send(frame::encode(protocol.is_base64(), frame::ERROR, &text))
            .await?;
    }
    sink.send(close()).await
}

/// The last message. kubectl takes any other code, and none at all, for a connection that broke.
pub(crate) fn close() -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    }))
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
        output.stdout("bye").await.unwrap();
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Binary(Bytes::from_static(b"\x01bye"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_comes_after_all_output_and_then_the_close() {
        let (mut client, _input, output) = session(Protocol::V4).await;
        output.stderr("oh").await.unwrap();
        let mut finishing = tokio::spawn(async move { output.finish(&Outcome::Exited(7)).await });
        // Whoever ends with the last session waits until the client has everything.
        assert!(timeout(CLOSING_TIME / 2, &mut finishing).await.is_err());
        let mut messages = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            messages.push(message);
        }
        assert_eq!(messages[0], Message::Binary(Bytes::from_static(b"\x02oh")));
        let status = messages[1].clone().into_data();
        assert_eq!(status[0], 3);
        assert!(status.windows(8).any(|window| window == b"ExitCode"));
        assert!(messages[2].is_close());
        finishing.await.unwrap().unwrap();
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
    async fn a_large_message_is_handed_on_in_pieces() {
        let (mut client, mut input, _output) = session(Protocol::V4).await;
        let message = vec![b'x'; 3 * 1024 * 1024];
        let sending = [&[0], message.as_slice()].concat();
        tokio::spawn(async move {
            client.send(Message::Binary(sending.into())).await.unwrap();
            client
        });
        let mut received = 0;
        while received < message.len() {
            let piece = input.stdin.recv().await.unwrap();
            assert!(piece.len() <= CHUNK);
            received += piece.len();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_is_asked_whether_it_is_there_and_an_idle_one_is_left() {
        let begin = Instant::now();
        let (mut client, _input, output) = session(Protocol::V5).await;
        // Reading it answers the pings.
        while let Some(Ok(message)) = client.next().await {
            assert!(message.is_ping());
        }
        output.closed().await;
        assert!(begin.elapsed() >= crate::activity::IDLE_TIME);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_noticed() {
        let (client, mut input, output) = session(Protocol::V5).await;
        drop(client);
        output.closed().await;
        assert_eq!(output.stdout("x").await, Err(Disconnected));
        assert_eq!(input.stdin.recv().await, None);
    }
}
