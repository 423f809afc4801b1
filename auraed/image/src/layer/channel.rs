//! Bytes from an async task to a blocking reader, in order and bounded.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::partial::Partial;

/// Chunks under way: enough to keep both sides busy, at most a few hundred KiB of network reads.
const DEPTH: usize = 32;

/// Feeds a [`ChunkReader`]. Dropped without [`ChunkSender::end`], the reader fails.
pub(crate) struct ChunkSender {
    chunks: mpsc::Sender<Chunk>,
}

/// Reads what a [`ChunkSender`] sends. Blocks, so it belongs in a blocking thread.
pub(crate) struct ChunkReader {
    chunks: mpsc::Receiver<Chunk>,
    current: Bytes,
    ended: bool,
    /// Takes what comes, so that it does not have to come again.
    partial: Option<Partial>,
}

enum Chunk {
    Data(Bytes),
    /// What was kept already.
    Known(Bytes),
    End,
}

/// The reader is gone: its thread failed or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReaderGone;

pub(crate) fn chunks() -> (ChunkSender, ChunkReader) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    (
        ChunkSender { chunks: sender },
        ChunkReader {
            chunks: receiver,
            current: Bytes::new(),
            ended: false,
            partial: None,
        },
    )
}

impl ChunkSender {
    pub(crate) async fn send(&self, data: Bytes) -> Result<(), ReaderGone> {
        self.chunks.send(Chunk::Data(data)).await.map_err(|_| ReaderGone)
    }

    /// Sends data that the reader does not have to keep.
    pub(crate) async fn send_known(&self, data: Bytes) -> Result<(), ReaderGone> {
        self.chunks.send(Chunk::Known(data)).await.map_err(|_| ReaderGone)
    }

    /// All data was sent.
    pub(crate) async fn end(self) -> Result<(), ReaderGone> {
        self.chunks.send(Chunk::End).await.map_err(|_| ReaderGone)
    }
}

impl ChunkReader {
    /// Keeps what comes in a file. Where that cannot be written it is given up, not the reading.
    pub(crate) fn keep(&mut self, partial: Option<Partial>) {
        self.partial = partial;
    }

    /// The file, if it was not given up.
    pub(crate) fn into_kept(self) -> Option<Partial> {
        self.partial
    }

    fn take(&mut self, data: Bytes) {
        if let Some(partial) = &mut self.partial
            && let Err(error) = partial.append(&data)
        {
            tracing::debug!(%error, "the part of a layer cannot be kept");
            if let Some(partial) = self.partial.take() {
                partial.remove();
            }
        }
        self.current = data;
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Chunk::Data(data)) => self.take(data),
                Some(Chunk::Known(data)) => self.current = data,
                Some(Chunk::End) => self.ended = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the transfer was stopped",
                    ));
                }
            }
        }
        let read = buffer.len().min(self.current.len());
        buffer[..read].copy_from_slice(&self.current.split_to(read));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_ended_channel_reads_to_its_end_and_a_dropped_one_fails() {
        let (sender, mut reader) = chunks();
        sender.send(Bytes::from_static(b"ab")).await.unwrap();
        sender.send(Bytes::from_static(b"c")).await.unwrap();
        sender.end().await.unwrap();
        let read = tokio::task::spawn_blocking(move || io::read_to_string(&mut reader))
            .await
            .unwrap();
        assert_eq!(read.unwrap(), "abc");

        let (sender, mut reader) = chunks();
        sender.send(Bytes::from_static(b"ab")).await.unwrap();
        drop(sender);
        let read = tokio::task::spawn_blocking(move || io::read_to_string(&mut reader))
            .await
            .unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
