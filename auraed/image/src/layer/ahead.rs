//! Inflates in a thread of its own, a little ahead of the one that digests and unpacks: a large layer then takes as
//! long as the slower of the two, not as both.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::inflate;
use crate::Digest;
use crate::digest::Hasher;
use crate::unpack::limit;

/// Bytes that change hands at a time.
const CHUNK: usize = 256 * 1024;
/// How many such are ahead at most.
const DEPTH: usize = 4;

/// The inflated content of a layer, digested and counted as it is read.
pub(super) struct Inflated {
    filled: Receiver<io::Result<Chunk>>,
    /// Buffers go back to be filled again.
    spare: Sender<Vec<u8>>,
    chunk: Chunk,
    at: usize,
    ended: bool,
    hasher: Hasher,
    left: u64,
}

#[derive(Default)]
struct Chunk {
    buffer: Vec<u8>,
    /// Bytes of it that count; the last chunk of all has none.
    length: usize,
}

/// Lets `work` read what a blob inflates to.
///
/// # Errors
/// No thread can be made.
pub(super) fn with_inflated<T>(
    blob: impl Read + Send,
    hasher: Hasher,
    work: impl FnOnce(Inflated) -> T,
) -> io::Result<T> {
    let (full, filled) = sync_channel(DEPTH);
    let (spare, emptied) = channel();
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || feed(blob, &full, &emptied))?;
        // It ends the thread when it is dropped.
        Ok(work(Inflated {
            filled,
            spare,
            chunk: Chunk::default(),
            at: 0,
            ended: false,
            hasher,
            left: limit::LAYER,
        }))
    })
}

/// The thread's part. It ends with the content, with an error, or when nobody reads any more.
fn feed(blob: impl Read, full: &SyncSender<io::Result<Chunk>>, emptied: &Receiver<Vec<u8>>) {
    let mut reader = match inflate(blob) {
        Ok(reader) => reader,
        Err(error) => {
            let _ = full.send(Err(error));
            return;
        }
    };
    loop {
        let mut buffer = emptied.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
        let chunk = fill(&mut reader, &mut buffer).map(|length| Chunk { buffer, length });
        let last = chunk.as_ref().map_or(true, |chunk| chunk.length == 0);
        if full.send(chunk).is_err() || last {
            return;
        }
    }
}

/// Fills a buffer, but for the last one.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

impl Inflated {
    /// More came out than the largest layer may have.
    pub(super) fn exceeded(&self) -> bool {
        self.left == 0
    }

    /// The digest of what was read.
    pub(super) fn digest(self) -> Digest {
        self.hasher.finish()
    }

    fn next(&mut self) -> io::Result<()> {
        let next = self.filled.recv();
        let next = next.unwrap_or_else(|_| Err(io::Error::other("inflating was stopped")));
        // After an error there is nothing more to read.
        self.ended = true;
        let next = next?;
        self.ended = next.length == 0;
        self.hasher.update(&next.buffer[..next.length]);
        self.left = self.left.saturating_sub(next.length as u64);
        let used = std::mem::replace(&mut self.chunk, next).buffer;
        self.at = 0;
        if self.exceeded() {
            self.ended = true;
            return Err(io::Error::other("the layer is too large"));
        }
        if !used.is_empty() {
            // The thread may have ended.
            let _ = self.spare.send(used);
        }
        Ok(())
    }
}

impl BufRead for Inflated {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.length && !self.ended {
            self.next()?;
        }
        Ok(&self.chunk.buffer[self.at..self.chunk.length])
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.chunk.length.min(self.at + amount);
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let read = available.len().min(buffer.len());
        buffer[..read].copy_from_slice(&available[..read]);
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher() -> Hasher {
        Hasher::sha256()
    }

    #[test]
    fn what_is_read_is_what_was_packed() {
        let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let packed = zstd::encode_all(content.as_slice(), 0).unwrap();
        let read = with_inflated(packed.as_slice(), hasher(), |mut inflated| {
            let mut read = Vec::new();
            inflated.read_to_end(&mut read).unwrap();
            assert!(!inflated.exceeded());
            (read, inflated.digest())
        });
        let (read, digest) = read.unwrap();
        assert!(read == content);
        assert_eq!(digest, Digest::sha256(&content));
    }

    #[test]
    fn an_error_is_told_once_and_who_stops_reading_stops_the_thread() {
        let packed = zstd::encode_all(&[7; 100_000][..], 0).unwrap();
        let cut = &packed[..packed.len() - 1];
        with_inflated(cut, hasher(), |mut inflated| {
            assert!(inflated.read_to_end(&mut Vec::new()).is_err());
            assert_eq!(inflated.read(&mut [0; 8]).unwrap(), 0);
        })
        .unwrap();
        let endless = io::repeat(b'x');
        with_inflated(endless, hasher(), |mut inflated| {
            assert_eq!(inflated.read(&mut [0; 8]).unwrap(), 8);
        })
        .unwrap();
    }
}
