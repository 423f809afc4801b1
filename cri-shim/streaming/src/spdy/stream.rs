//! One stream of a connection, and its two halves.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Received;
use super::connection::Outgoing;
use super::frame::Reason;
use super::header::Headers;
use super::table::{Answer, Gone, Table};

/// The most data that goes into one frame, in bytes.
const CHUNK: usize = 32 * 1024;

/// A stream that the client opened and that was accepted.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Its number.
    pub(crate) id: u32,
    /// What it was opened with.
    pub(crate) headers: Headers,
    /// What the client sends.
    pub(crate) reader: StreamReader,
    /// What goes to the client.
    pub(crate) writer: StreamWriter,
}

/// What a client sends on a stream. Once dropped, the rest is thrown away.
#[derive(Debug)]
pub(crate) struct StreamReader {
    id: u32,
    table: Arc<Table>,
    incoming: mpsc::Receiver<Received>,
    ended: bool,
}

/// Tells when a stream is over.
#[derive(Debug)]
pub(crate) struct Presence {
    id: u32,
    table: Arc<Table>,
}

impl Presence {
    /// Resolves when both sides have ended the stream, or one has reset it, or the client is gone.
    pub(crate) async fn over(&self) {
        self.table.over(self.id).await;
    }
}

/// What goes to a client on a stream. Dropping it before its end resets the stream.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    id: u32,
    table: Arc<Table>,
    outgoing: mpsc::Sender<Outgoing>,
    ended: bool,
}

impl Stream {
    pub(super) fn new(
        id: u32,
        headers: Headers,
        table: &Arc<Table>,
        incoming: mpsc::Receiver<Received>,
        outgoing: mpsc::Sender<Outgoing>,
    ) -> Self {
        Self {
            id,
            headers,
            reader: StreamReader {
                id,
                table: Arc::clone(table),
                incoming,
                ended: false,
            },
            writer: StreamWriter {
                id,
                table: Arc::clone(table),
                outgoing,
                ended: false,
            },
        }
    }
}

impl StreamReader {
    /// What came next; None: the client has sent everything. Cancel-safe.
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, Gone> {
        match self.incoming.recv().await {
            Some(Received::Data(data, _place)) => {
                self.table.used(self.id, data.len());
                Ok(Some(data))
            }
            Some(Received::End) => {
                self.ended = true;
                Ok(None)
            }
            None if self.ended => Ok(None),
            None => Err(Gone),
        }
    }
}

impl StreamWriter {
    /// Tells when the stream is over.
    pub(crate) fn presence(&self) -> Presence {
        Presence {
            id: self.id,
            table: Arc::clone(&self.table),
        }
    }

    /// Sends data, as soon as the client takes it.
    pub(crate) async fn write(&mut self, mut data: Bytes) -> Result<(), Gone> {
        while !data.is_empty() {
            let room = self.table.room(self.id, data.len().min(CHUNK)).await?;
            let message = Outgoing::Data {
                stream: self.id,
                data: data.split_to(room),
                ends: false,
            };
            self.outgoing.send(message).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Ends this direction. Does nothing for a stream that is over.
    pub(crate) async fn finish(mut self) {
        if self.table.is_open(self.id) {
            let message = Outgoing::Data {
                stream: self.id,
                data: Bytes::new(),
                ends: true,
            };
            // A connection that is over needs no end of a stream.
            let _ = self.outgoing.send(message).await;
        }
        self.ended = true;
        self.table.server_ended(self.id);
    }

    /// Ends the stream both ways, after all that was sent on it.
    pub(crate) async fn reset(mut self) {
        self.ended = true;
        if self.table.remove(self.id) {
            let _ = self.outgoing.send(Outgoing::Reset { stream: self.id }).await;
        }
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if !self.ended && self.table.remove(self.id) {
            self.table.answer(Answer::Reset(self.id, Reason::Cancelled));
        }
    }
}
