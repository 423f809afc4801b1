//! Bytes from an async task to a blocking reader, in order and bounded.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

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
}

enum Chunk {
    Data(Bytes),
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
        },
    )
}

impl ChunkSender {
    pub(crate) async fn send(&self, data: Bytes) -> Result<(), ReaderGone> {
        self.chunks.send(Chunk::Data(data)).await.map_err(|_| ReaderGone)
    }

    /// All data was sent.
    pub(crate) async fn end(self) -> Result<(), ReaderGone> {
        self.chunks.send(Chunk::End).await.map_err(|_| ReaderGone)
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Chunk::Data(data)) => self.current = data,
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
