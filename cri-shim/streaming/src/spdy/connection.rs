//! A connection's handle and the task that writes it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, WriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::frame::{Encoder, Violation};
use super::reader::{Policy, Reader, WAITING_BYTES};
use super::stream::Stream;
use super::table::{Answer, Table};
use crate::activity::{Activity, PING_TIME};
use crate::session::CLOSING_TIME;

/// Pieces of data under way to the writer, from all streams.
const QUEUE: usize = 8;
/// Streams that nobody has looked at.
const OPENED: usize = 8;

/// What a stream has the writer say, in order.
#[derive(Debug)]
pub(super) enum Outgoing {
    Data {
        stream: u32,
        data: Bytes,
        ends: bool,
    },
    Reset {
        stream: u32,
    },
    /// The last one.
    Close,
}

/// A connection's handle. Once it and all streams are dropped, the connection is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    opened: mpsc::Receiver<Stream>,
    outgoing: mpsc::Sender<Outgoing>,
    writer: JoinHandle<()>,
}

impl Connection {
    /// Starts the tasks of a connection. Streams that `policy` does not want are refused. Must be called in a runtime.
    pub(crate) fn start<S>(connection: S, policy: Policy) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(connection);
        let (table, activity) = (Arc::new(Table::new()), Activity::new());
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let (opened_sender, opened) = mpsc::channel(OPENED);
        let reader = Reader {
            table: Arc::clone(&table),
            activity: activity.clone(),
            policy,
            opened: opened_sender,
            outgoing: outgoing.downgrade(),
            places: Arc::new(Semaphore::new(WAITING_BYTES)),
        };
        let writer = Writer {
            write,
            encoder: Encoder::new(),
            reader: tokio::spawn(reader.run(read)),
            table,
            activity,
        };
        Self {
            opened,
            outgoing,
            writer: tokio::spawn(writer.run(queue)),
        }
    }

    /// The next stream that the client opens; None once the client is gone. Cancel-safe.
    pub(crate) async fn accept(&mut self) -> Option<Stream> {
        self.opened.recv().await
    }

    /// Resolves when the connection is over.
    pub(crate) async fn closed(&self) {
        self.outgoing.closed().await;
    }

    /// Closes the connection after all that was sent, and waits a little for the client to do the same.
    pub(crate) async fn close(self) {
        let _ = self.outgoing.send(Outgoing::Close).await;
        let _ = self.writer.await;
    }
}

/// The task that writes.
struct Writer<S> {
    write: WriteHalf<S>,
    encoder: Encoder,
    reader: JoinHandle<Result<(), Violation>>,
    table: Arc<Table>,
    activity: Activity,
}

impl<S> Drop for Writer<S> {
    fn drop(&mut self) {
        self.reader.abort();
        self.table.close();
    }
}

impl<S: AsyncRead + AsyncWrite> Writer<S> {
    async fn run(mut self, mut queue: mpsc::Receiver<Outgoing>) {
        let mut pings = interval_at(Instant::now() + PING_TIME, PING_TIME);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Ours are even; the client's are odd.
        let mut ping = 0_u32;
        let table = Arc::clone(&self.table);
        loop {
            let written = tokio::select! {
                biased;
                () = table.news.notified() => self.answers().await,
                outgoing = queue.recv() => match outgoing {
                    Some(Outgoing::Data { stream, data, ends }) => {
                        self.activity.touch();
                        self.data(stream, &data, ends).await
                    }
                    Some(Outgoing::Reset { stream }) => {
                        self.say(&Encoder::reset(stream, super::frame::Reason::Cancelled)).await
                    }
                    Some(Outgoing::Close) => return self.close(true).await,
                    None => return,
                },
                _ = pings.tick() => {
                    ping = ping.wrapping_add(2).max(2);
                    self.say(&Encoder::ping(ping)).await
                }
                () = self.activity.idle() => return self.close(true).await,
                ended = &mut self.reader => {
                    if let Ok(Err(violation)) = ended {
                        tracing::debug!(error = %violation, "a connection is cut off");
                        self.close(false).await;
                    }
                    return;
                }
            };
            if let Err(error) = written {
                tracing::debug!(%error, "a connection broke");
                return;
            }
        }
    }

    async fn answers(&mut self) -> io::Result<()> {
        for answer in self.table.take_answers() {
            let frame = match answer {
                Answer::Accept(stream) => self.encoder.reply(stream),
                Answer::Reset(stream, reason) => Encoder::reset(stream, reason),
                Answer::Ping(id) => Encoder::ping(id),
                Answer::Welcome(stream, more) => Encoder::window_update(stream, more),
            };
            self.write.write_all(&frame).await?;
        }
        self.write.flush().await
    }

    async fn data(&mut self, stream: u32, data: &[u8], ends: bool) -> io::Result<()> {
        let head = Encoder::data_head(stream, data.len(), ends);
        self.write.write_all(&[&head, data].concat()).await?;
        self.write.flush().await
    }

    async fn say(&mut self, frame: &[u8]) -> io::Result<()> {
        self.write.write_all(frame).await?;
        self.write.flush().await
    }

    /// Closes this side, and lets the client close its own: it has read everything then.
    async fn close(&mut self, in_order: bool) {
        let closing = async {
            self.answers().await?;
            let last = self.table.last();
            self.say(&Encoder::go_away(last, in_order)).await?;
            self.write.shutdown().await?;
            if in_order {
                let _ = (&mut self.reader).await;
            }
            io::Result::Ok(())
        };
        if let Ok(Err(error)) = timeout(CLOSING_TIME, closing).await {
            tracing::debug!(%error, "a connection broke at its end");
        }
    }
}

#[cfg(test)]
mod tests;
