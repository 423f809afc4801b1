//! The task that reads a connection.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadHalf};
use tokio::sync::{Semaphore, mpsc};

use super::Received;
use super::connection::Outgoing;
use super::frame::{Decoder, Frame, Reason, Violation};
use super::header::Headers;
use super::stream::Stream;
use super::table::{Answer, Table};
use crate::activity::Activity;

/// Bytes that are read at once.
const READ: usize = 16 * 1024;
/// Pieces of data that wait on one stream.
const QUEUE: usize = 16;
/// Bytes that wait on all streams together.
pub(super) const WAITING_BYTES: usize = 1024 * 1024;
/// A smaller piece is copied, so that it does not hold on to all that came with it.
const SMALL: usize = 4 * 1024;

/// Says which streams are wanted.
pub(crate) type Policy = Box<dyn FnMut(&Headers) -> bool + Send>;

pub(super) struct Reader {
    pub(super) table: Arc<Table>,
    pub(super) activity: Activity,
    pub(super) policy: Policy,
    pub(super) opened: mpsc::Sender<Stream>,
    pub(super) outgoing: mpsc::WeakSender<Outgoing>,
    /// A place for each byte that waits.
    pub(super) places: Arc<Semaphore>,
}

impl Reader {
    /// Reads until the client is gone or does what it must not.
    pub(super) async fn run<S: AsyncRead>(mut self, mut connection: ReadHalf<S>) -> Result<(), Violation> {
        let (mut decoder, mut received) = (Decoder::new(), BytesMut::new());
        loop {
            while let Some(frame) = decoder.decode(&mut received)? {
                self.take(frame).await?;
                self.table.check()?;
            }
            received.reserve(READ);
            match connection.read_buf(&mut (&mut received).limit(READ)).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection broke");
                    return Ok(());
                }
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Violation> {
        // Even numbers are the answers to our own pings.
        if !matches!(frame, Frame::Ping { id } if id % 2 == 0) {
            self.activity.touch();
        }
        match frame {
            Frame::Open {
                stream,
                headers,
                ends,
            } => {
                self.open(stream, headers).await?;
                if ends {
                    self.end(stream).await;
                }
            }
            Frame::Data { stream, data, ends } => {
                self.data(stream, data).await;
                if ends {
                    self.end(stream).await;
                }
            }
            Frame::Reset { stream } => {
                self.table.remove(stream);
            }
            Frame::Ping { id } if id % 2 == 1 => self.table.answer(Answer::Ping(id)),
            Frame::GoAway => self.table.close_to_new(),
            Frame::WindowUpdate { stream, more } => self.table.widen(stream, more),
            Frame::Settings { window: Some(window) } => self.table.set_window(window),
            Frame::Settings { window: None } | Frame::Ping { .. } | Frame::Other => {}
        }
        Ok(())
    }

    async fn open(&mut self, id: u32, headers: Headers) -> Result<(), Violation> {
        let (queue, incoming) = mpsc::channel(QUEUE);
        let queue = (self.policy)(&headers).then_some(queue);
        let outgoing = self.outgoing.upgrade();
        if let (true, Some(outgoing)) = (self.table.open(id, queue)?, outgoing) {
            // Said before whoever gets the stream can say anything on it.
            self.table.answer(Answer::Accept(id));
            let opened = Stream::new(id, headers, &self.table, incoming, outgoing);
            // Dropping the stream resets it.
            let _ = self.opened.send(opened).await;
        } else {
            self.table.answer(Answer::Reset(id, Reason::Refused));
        }
        Ok(())
    }

    async fn data(&mut self, stream: u32, data: Bytes) {
        let length = data.len();
        let Ok(count) = u32::try_from(length) else { return };
        if count == 0 {
            return;
        }
        if let Some(queue) = self.table.queue(stream)
            && let Ok(places) = Arc::clone(&self.places).acquire_many_owned(count).await
        {
            let data = if length < SMALL {
                Bytes::copy_from_slice(&data)
            } else {
                data
            };
            if queue.send(Received::Data(data, places)).await.is_ok() {
                return;
            }
        }
        self.table.used(stream, length);
    }

    async fn end(&mut self, stream: u32) {
        if let Some(queue) = self.table.queue(stream) {
            // Nobody reads it any more.
            let _ = queue.send(Received::End).await;
            self.table.client_ended(stream);
        }
    }
}
