//! Gets the bytes of a blob, from one place after another if need be, and digests them on their way to the thread that
//! unpacks.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;

use crate::digest::Hasher;
use crate::error::Failure;
use crate::layer::{ChunkSender, LayerError};
use crate::partial::read_at;
use crate::progress::Hub;
use crate::registry::{FetchError, Source};
use crate::{ErrorKind, Layer, LayerState};

/// Tries of one place after the first, each without progress, before the next place is asked.
const RETRIES: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Less than this is no progress: a place that breaks off at every byte is not asked for ever.
const PROGRESS: u64 = 64 * 1024;
/// Bytes of a kept part that are read at a time.
const KNOWN: u64 = 1024 * 1024;

pub(super) struct Pump<'a> {
    source: &'a Source,
    layer: &'a Layer,
    hub: &'a Hub,
    /// Gone when the reader is.
    sender: Option<ChunkSender>,
    hasher: Hasher,
    done: u64,
    /// A broken transfer goes on where it broke, where the place can do that.
    splice: bool,
}

/// Where the bytes came from so far.
pub(super) struct Way {
    /// From more than one transfer.
    spliced: AtomicBool,
    place: AtomicUsize,
}

impl Way {
    /// `known` says that the beginning is from an earlier pull.
    pub(super) fn new(known: bool) -> Way {
        Way {
            spliced: AtomicBool::new(known),
            place: AtomicUsize::new(0),
        }
    }

    /// Whether bytes of several transfers were put together.
    pub(super) fn is_spliced(&self) -> bool {
        self.spliced.load(Ordering::Relaxed)
    }

    /// Who was asked last.
    pub(super) fn place(&self) -> usize {
        self.place.load(Ordering::Relaxed)
    }
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        source: &'a Source,
        layer: &'a Layer,
        hub: &'a Hub,
        sender: ChunkSender,
        splice: bool,
    ) -> Pump<'a> {
        Pump {
            source,
            layer,
            hub,
            sender: Some(sender),
            hasher: layer.digest.hasher(),
            done: 0,
            splice,
        }
    }

    /// Gets the whole blob, the beginning of it from a file if there is one and the rest from `place` or those after it,
    /// and checks it.
    pub(super) async fn run(
        mut self,
        known: Option<(File, u64)>,
        place: usize,
        way: &Way,
    ) -> Result<(), Failure> {
        if let Some((file, length)) = known {
            self.replay(file, length).await?;
        }
        let (mut place, mut retries, mut since) = (self.source.place_from(place), retries(), self.done);
        while self.done < self.layer.size_bytes || self.done == 0 {
            way.place.store(place, Ordering::Relaxed);
            let error = match self.stream(place).await {
                Ok(()) => break,
                Err(Failure::Fetch { source, .. }) => source,
                Err(failure) => return Err(failure),
            };
            way.spliced
                .fetch_or(self.splice && self.done > 0, Ordering::Relaxed);
            if self.done >= since + PROGRESS {
                (since, retries) = (self.done, self::retries());
            }
            // A mirror that cannot be reached at all is not waited for.
            let again = error.kind() == ErrorKind::Unavailable && self.source.place_from(place) == place;
            let pause = retries.next().filter(|_| again);
            if let Some(pause) = pause {
                tracing::debug!(layer = %self.layer.digest, error = %crate::error::chain(&error), "fetching on");
                tokio::time::sleep(pause).await;
            } else if place + 1 < self.source.places() {
                tracing::warn!(layer = %self.layer.digest, error = %crate::error::chain(&error), "asking the next place");
                (place, retries) = (self.source.place_from(place + 1), self::retries());
            } else {
                return Err(self.failed(error));
            }
        }
        let layer = self.layer.digest.clone();
        let actual = self.hasher.finish();
        if actual != layer {
            return Err(LayerError::Digest { layer, actual }.into());
        }
        if let Some(sender) = self.sender {
            // A reader that is gone has an error to tell, or did not need the end.
            let _ = sender.end().await;
        }
        Ok(())
    }

    /// Takes what an earlier pull kept.
    async fn replay(&mut self, file: File, length: u64) -> Result<(), Failure> {
        let file = Arc::new(file);
        while self.done < length {
            let (file, offset) = (Arc::clone(&file), self.done);
            // At most KNOWN.
            let most = usize::try_from((length - offset).min(KNOWN)).unwrap_or(0);
            let read = tokio::task::spawn_blocking(move || read_at(&file, offset, most)).await;
            let bytes = read.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
            // A file that cannot be read is as good as a wrong one: the blob is fetched in one piece.
            let bytes: Bytes = match bytes {
                Ok(bytes) => bytes.into(),
                Err(error) => {
                    tracing::warn!(layer = %self.layer.digest, %error, "the part of a layer cannot be read");
                    let (layer, actual) = (self.layer.digest.clone(), offset);
                    return Err(LayerError::Size {
                        layer,
                        expected: length,
                        actual,
                    }
                    .into());
                }
            };
            self.count(&bytes);
            if let Some(sender) = &self.sender
                && sender.send_known(bytes).await.is_err()
            {
                self.sender = None;
            }
        }
        Ok(())
    }

    /// Takes the blob up where it is, until it is whole.
    async fn stream(&mut self, place: usize) -> Result<(), Failure> {
        let total = self.layer.size_bytes;
        let wanted = if self.splice { self.done } else { 0 };
        let opened = self.source.blob(place, &self.layer.digest, wanted).await;
        let mut stream = opened.map_err(|error| self.failed(error))?;
        let mut known = self.done.saturating_sub(stream.offset);
        while let Some(mut bytes) = stream.next().await.map_err(|error| self.failed(error))? {
            let skipped = known.min(bytes.len() as u64);
            known -= skipped;
            // No more than the length of `bytes`.
            let bytes = bytes.split_off(usize::try_from(skipped).unwrap_or(0));
            self.count(&bytes);
            if self.done > total {
                let (layer, actual) = (self.layer.digest.clone(), self.done);
                return Err(LayerError::Size {
                    layer,
                    expected: total,
                    actual,
                }
                .into());
            }
            if let Some(sender) = &self.sender
                && sender.send(bytes).await.is_err()
            {
                self.sender = None;
            }
        }
        if self.done < total {
            Err(self.failed(stream.ended_early()))
        } else {
            Ok(())
        }
    }

    fn count(&mut self, bytes: &Bytes) {
        self.done += bytes.len() as u64;
        self.hasher.update(bytes);
        self.hub.report(self.layer, self.done, LayerState::Fetching);
    }

    fn failed(&self, source: FetchError) -> Failure {
        Failure::Fetch {
            what: "layer",
            digest: self.layer.digest.clone(),
            source,
        }
    }
}

fn retries() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(RETRIES)
        .with_jitter()
        .build()
}
