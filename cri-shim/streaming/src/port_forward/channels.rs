//! The old form over WebSocket: for the port at place i, channel 2i is data and channel 2i + 1 an error.
//!
//! Each channel of the server's begins with its port, little-endian. The connection ends when all ports' connections have.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Forward, Presence, Reader, Sink, Source, Watched};
use crate::activity::{Activity, PING_TIME};
use crate::frame;
use crate::session::{CLOSING_TIME, Disconnected};
use crate::websocket;

/// Pieces of data under way in each direction; from the client, on each port.
const QUEUE: usize = 8;
/// The largest piece that waits for a port, in bytes.
const CHUNK: usize = 32 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Channels {
    /// Those that were not handed out yet.
    forwards: VecDeque<Forward>,
    writing: JoinHandle<()>,
}

/// The two channels of a port.
#[derive(Debug)]
pub(super) struct Writer {
    data: u8,
    queue: mpsc::Sender<(u8, Bytes)>,
}

impl Channels {
    pub(super) async fn start<S>(connection: S, is_base64: bool, ports: &[u16]) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sink, stream) = websocket::accept(connection).await.split();
        let (sender, queue) = mpsc::channel(QUEUE);
        let mut inputs = Vec::with_capacity(ports.len());
        let mut forwards = VecDeque::with_capacity(ports.len());
        for (data, port) in (0..=u8::MAX).step_by(2).zip(ports) {
            let (input, receiver) = mpsc::channel(QUEUE);
            inputs.push(input);
            forwards.push_back(Forward {
                port: *port,
                presence: Presence(Watched::Channels(sender.clone())),
                reader: Reader(Source::Channel(receiver)),
                writer: super::Writer(Sink::Channels(Writer {
                    data,
                    queue: sender.clone(),
                })),
            });
        }
        let activity = Activity::new();
        let reader = tokio::spawn(read(stream, is_base64, inputs, activity.clone()));
        let writer = Output {
            sink,
            is_base64,
            activity,
            reader,
        };
        let ports = ports.to_vec();
        Self {
            forwards,
            writing: tokio::spawn(writer.run(ports, queue)),
        }
    }

    pub(super) fn next(&mut self) -> Option<Forward> {
        self.forwards.pop_front()
    }

    /// The connection is closed when the last port's is dropped.
    pub(super) async fn close(self) {
        drop(self.forwards);
        let _ = self.writing.await;
    }
}

impl Writer {
    pub(super) async fn data(&self, data: Bytes) -> Result<(), Disconnected> {
        self.queue.send((self.data, data)).await.map_err(|_| Disconnected)
    }

    pub(super) async fn error(&self, text: &str) {
        let text = Bytes::copy_from_slice(text.as_bytes());
        // A client that is gone needs no reason.
        let _ = self.queue.send((self.data + 1, text)).await;
    }
}

async fn read<S>(
    mut stream: SplitStream<WebSocketStream<S>>,
    is_base64: bool,
    inputs: Vec<mpsc::Sender<Bytes>>,
    activity: Activity,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = websocket::next(&mut stream, &activity).await {
        let Some((channel, mut data)) = frame::unpack(is_base64, message) else {
            continue;
        };
        let input = inputs.get(usize::from(channel / 2)).filter(|_| channel % 2 == 0);
        while let Some(input) = input
            && !data.is_empty()
        {
            let piece = data.split_to(data.len().min(CHUNK));
            if input.send(piece).await.is_err() {
                break;
            }
        }
    }
}

/// The task that writes.
struct Output<S> {
    sink: SplitSink<WebSocketStream<S>, Message>,
    is_base64: bool,
    activity: Activity,
    reader: JoinHandle<()>,
}

impl<S> Drop for Output<S> {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Output<S> {
    async fn run(mut self, ports: Vec<u16>, queue: mpsc::Receiver<(u8, Bytes)>) {
        if let Err(error) = self.write(ports, queue).await {
            tracing::debug!(%error, "a connection broke");
        }
    }

    async fn write(
        &mut self,
        ports: Vec<u16>,
        mut queue: mpsc::Receiver<(u8, Bytes)>,
    ) -> Result<(), tungstenite::Error> {
        for (data, port) in (0..=u8::MAX).step_by(2).zip(ports) {
            for channel in [data, data + 1] {
                self.send(channel, &port.to_le_bytes()).await?;
            }
        }
        let mut pings = interval_at(Instant::now() + PING_TIME, PING_TIME);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = queue.recv() => match message {
                    Some((channel, data)) => {
                        self.activity.touch();
                        self.send(channel, &data).await?;
                    }
                    None => break,
                },
                _ = pings.tick() => self.sink.send(Message::Ping(Bytes::new())).await?,
                () = self.activity.idle() => break,
                _ = &mut self.reader => return Ok(()),
            }
        }
        self.sink.send(websocket::close()).await?;
        let _ = timeout(CLOSING_TIME, &mut self.reader).await;
        Ok(())
    }

    async fn send(&mut self, channel: u8, data: &[u8]) -> Result<(), tungstenite::Error> {
        self.sink.send(frame::encode(self.is_base64, channel, data)).await
    }
}
