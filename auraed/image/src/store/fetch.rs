//! One layer from the network: a pump that digests what comes and takes a broken transfer up again, and a thread that
//! unpacks. The thread publishes only when the pump has seen the right digest.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Inner;
use super::assemble::Origin;
use crate::digest::Hasher;
use crate::error::Failure;
use crate::layer::{ChunkReader, ChunkSender, LayerError, Plan, chunks, unpack_blob};
use crate::layers::Layers;
use crate::progress::Hub;
use crate::registry::{FetchError, Source};
use crate::{ErrorKind, Layer, LayerState};

/// Failures in a row, without a byte between them, before the next place is asked.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The mirrors and the registry of a pull.
pub(super) struct Remote<'a> {
    pub(super) source: &'a Source,
}

struct Pump<'a> {
    source: &'a Source,
    layer: &'a Layer,
    hub: &'a Hub,
    /// Gone when the reader is.
    sender: Option<ChunkSender>,
    hasher: Hasher,
    done: u64,
}

impl Origin for Remote<'_> {
    async fn fetch(&self, inner: &Arc<Inner>, layer: &Layer, hub: &Hub) -> Result<(), Failure> {
        let (sender, reader) = chunks();
        let (approve, approved) = oneshot::channel();
        let plan = Plan {
            layer: layer.digest.clone(),
            diff_id: layer.diff_id.clone(),
        };
        let layers = inner.layers.clone();
        let mut unpacking = tokio::task::spawn_blocking(move || unpack(&plan, reader, approved, &layers));
        let sender = Some(sender);
        let pump = Pump {
            source: self.source,
            layer,
            hub,
            sender,
            hasher: layer.digest.hasher(),
            done: 0,
        };
        let pump = pump.run();
        tokio::pin!(pump);

        let stopped = |_| LayerError::Stopped {
            layer: layer.digest.clone(),
        };
        tokio::select! {
            pumped = &mut pump => match pumped {
                Ok(()) => {
                    // The thread waits for this, or has an error to tell.
                    let _ = approve.send(());
                    Ok(unpacking.await.map_err(stopped).flatten()?)
                }
                Err(failure) => {
                    drop(approve);
                    // Its staging directory is gone when it has ended.
                    let _ = unpacking.await;
                    Err(failure)
                }
            },
            unpacked = &mut unpacking => {
                let failure = match unpacked.map_err(stopped).flatten() {
                    Ok(()) => return Ok(()),
                    Err(failure) => failure,
                };
                // What cannot be read may have been damaged on the way, which the whole blob's digest tells.
                if failure.kind() == ErrorKind::Corrupt {
                    pump.await?;
                }
                Err(failure.into())
            }
        }
    }
}

/// The thread's part.
fn unpack(
    plan: &Plan,
    reader: ChunkReader,
    approved: oneshot::Receiver<()>,
    layers: &Layers,
) -> Result<(), LayerError> {
    let staging = unpack_blob(plan, reader, layers.ingest())?;
    approved.blocking_recv().map_err(|_| LayerError::Stopped {
        layer: plan.layer.clone(),
    })?;
    let name = plan.diff_id.file_name();
    layers
        .publish(staging, &name)
        .map_err(|error| LayerError::io(&plan.layer, layers.path(&name), error))
}

impl Pump<'_> {
    /// Fetches the whole blob, from one place after another if need be, and checks it.
    async fn run(mut self) -> Result<(), Failure> {
        let (mut place, mut tries) = (0, 0);
        loop {
            let before = self.done;
            let error = match self.stream(place).await {
                Ok(()) => break,
                Err(Failure::Fetch { source, .. }) => source,
                Err(failure) => return Err(failure),
            };
            tries = if self.done > before { 1 } else { tries + 1 };
            if error.kind() == ErrorKind::Unavailable && tries < TRIES {
                tracing::debug!(layer = %self.layer.digest, error = %crate::error::chain(&error), "fetching on");
                tokio::time::sleep(FIRST_PAUSE * tries).await;
            } else if place + 1 < self.source.places() {
                tracing::warn!(layer = %self.layer.digest, error = %crate::error::chain(&error), "asking the next place");
                (place, tries) = (place + 1, 0);
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

    /// Takes the blob up where it is, until it is whole.
    async fn stream(&mut self, place: usize) -> Result<(), Failure> {
        let total = self.layer.size_bytes;
        let opened = self.source.blob(place, &self.layer.digest, self.done).await;
        let mut stream = opened.map_err(|error| self.failed(error))?;
        let mut known = self.done.saturating_sub(stream.offset);
        while let Some(mut bytes) = stream.next().await.map_err(|error| self.failed(error))? {
            let skipped = known.min(bytes.len() as u64);
            known -= skipped;
            // No more than the length of `bytes`.
            let bytes = bytes.split_off(usize::try_from(skipped).unwrap_or(0));
            self.done += bytes.len() as u64;
            if self.done > total {
                let (layer, actual) = (self.layer.digest.clone(), self.done);
                return Err(LayerError::Size {
                    layer,
                    expected: total,
                    actual,
                }
                .into());
            }
            self.hasher.update(&bytes);
            self.hub.report(self.layer, self.done, LayerState::Fetching);
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

    fn failed(&self, source: FetchError) -> Failure {
        Failure::Fetch {
            what: "layer",
            digest: self.layer.digest.clone(),
            source,
        }
    }
}
