//! One layer from the network: a pump that digests what comes and takes a broken transfer up again, and a thread that
//! unpacks. The thread publishes only when the pump has seen the right digest.
//!
//! Of a large layer the thread also keeps what comes (see `partial`), and the pump begins with what an earlier pull
//! kept. A blob put together from parts that turns out wrong is fetched once more, in one piece; and one that a mirror
//! serves wrong, from the next place.

mod pump;

use std::sync::Arc;
use tokio::sync::oneshot;

use super::Inner;
use super::assemble::Origin;
use crate::error::Failure;
use crate::layer::{ChunkReader, LayerError, Plan, chunks, unpack_blob};
use crate::layers::Layers;
use crate::partial::Partial;
use crate::progress::Hub;
use crate::registry::Source;
use crate::{ErrorKind, Layer};

use pump::{Pump, Way};

/// The mirrors and the registry of a pull.
pub(super) struct Remote<'a> {
    pub(super) source: &'a Source,
}

/// A fetch that failed.
struct Broken {
    failure: Failure,
    /// It went on from a part: of an earlier pull, or of a transfer that broke off.
    spliced: bool,
    /// Who was asked last.
    place: usize,
}

/// How a blob is fetched.
#[derive(Clone, Copy)]
struct Plot {
    /// Who is asked first.
    place: usize,
    /// What is there of the blob is made use of; else each transfer begins at the beginning.
    splice: bool,
}

impl Origin for Remote<'_> {
    async fn fetch(&self, inner: &Arc<Inner>, layer: &Layer, hub: &Hub) -> Result<(), Failure> {
        let mut partial = inner.partials.hold(&layer.digest, layer.size_bytes).await;
        let mut plot = Plot {
            place: 0,
            splice: true,
        };
        loop {
            let Err(broken) = self.attempt(inner, layer, hub, partial.take(), plot).await else {
                return Ok(());
            };
            let error = crate::error::chain(&broken.failure);
            plot = if broken.spliced && broken.failure.kind() == ErrorKind::Corrupt {
                tracing::warn!(layer = %layer.digest, error, "the parts do not fit together; fetching it in one piece");
                Plot {
                    place: plot.place,
                    splice: false,
                }
            } else if is_another(&broken.failure) && broken.place + 1 < self.source.places() {
                tracing::warn!(layer = %layer.digest, error, "a mirror has another blob; asking the next place");
                Plot {
                    place: broken.place + 1,
                    splice: true,
                }
            } else {
                return Err(broken.failure);
            };
        }
    }
}

impl Remote<'_> {
    /// Fetches a layer, from where `partial` ends.
    async fn attempt(
        &self,
        inner: &Arc<Inner>,
        layer: &Layer,
        hub: &Hub,
        partial: Option<Partial>,
        plot: Plot,
    ) -> Result<(), Broken> {
        let (sender, mut reader) = chunks();
        let known = match &partial {
            Some(partial) if partial.known() > 0 => partial.reader().ok().map(|file| (file, partial.known())),
            _ => None,
        };
        let way = Way::new(known.is_some());
        reader.keep(partial);
        let (approve, approved) = oneshot::channel();
        let plan = Plan {
            layer: layer.digest.clone(),
            diff_id: layer.diff_id.clone(),
        };
        let layers = inner.layers.clone();
        let mut unpacking = tokio::task::spawn_blocking(move || unpack(&plan, reader, approved, &layers));
        let pump = Pump::new(self.source, layer, hub, sender, plot.splice);
        let pump = pump.run(known, plot.place, &way);
        tokio::pin!(pump);

        let stopped = |_| {
            let layer = layer.digest.clone();
            (Err(LayerError::Stopped { layer }), None)
        };
        let (outcome, kept) = tokio::select! {
            pumped = &mut pump => {
                match pumped {
                    // The thread waits for this, or has an error to tell.
                    Ok(()) => drop(approve.send(())),
                    Err(_) => drop(approve),
                }
                // Its staging directory is gone when it has ended.
                let (unpacked, kept) = unpacking.await.unwrap_or_else(stopped);
                (pumped.and_then(|()| Ok(unpacked?)), kept)
            }
            unpacked = &mut unpacking => {
                let (unpacked, kept) = unpacked.unwrap_or_else(stopped);
                let outcome = match unpacked {
                    // What cannot be read, or holds what no layer may, may have been damaged on the way or be no part of
                    // the blob, which the whole blob's digest tells.
                    Err(failure) if is_doubtful(failure.kind(), &way) => match pump.as_mut().await {
                        Ok(()) => Err(failure.into()),
                        Err(damage) => Err(damage),
                    },
                    unpacked => unpacked.map_err(Failure::from),
                };
                (outcome, kept)
            }
        };
        release(kept, &outcome);
        outcome.map_err(|failure| Broken {
            failure,
            spliced: way.is_spliced(),
            place: way.place(),
        })
    }
}

/// Whether a layer that cannot be unpacked may be another one than the manifest names.
fn is_doubtful(kind: ErrorKind, way: &Way) -> bool {
    kind == ErrorKind::Corrupt || kind == ErrorKind::Refused && way.is_spliced()
}

/// What came is not the blob that the manifest names.
fn is_another(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Layer(LayerError::Digest { .. } | LayerError::Size { .. })
    )
}

/// A part is kept for the next pull where only the transfer failed.
fn release(kept: Option<Partial>, outcome: &Result<(), Failure>) {
    let kind = outcome.as_ref().map_err(Failure::kind);
    let worthless = match kind {
        Err(ErrorKind::Unavailable | ErrorKind::Unauthorized | ErrorKind::NotFound | ErrorKind::Internal) => {
            false
        }
        Ok(()) | Err(ErrorKind::Corrupt | ErrorKind::NoSpace | ErrorKind::Refused) => true,
    };
    if let Some(kept) = kept.filter(|_| worthless) {
        // Freeing a large file takes the disk a while.
        tokio::task::spawn_blocking(move || kept.remove());
    }
}

/// The thread's part.
fn unpack(
    plan: &Plan,
    mut reader: ChunkReader,
    approved: oneshot::Receiver<()>,
    layers: &Layers,
) -> (Result<(), LayerError>, Option<Partial>) {
    let unpacked = unpack_blob(plan, &mut reader, layers.ingest());
    // From here on the pump is told that nobody reads.
    let kept = reader.into_kept();
    let published = unpacked.and_then(|staging| {
        approved.blocking_recv().map_err(|_| LayerError::Stopped {
            layer: plan.layer.clone(),
        })?;
        let name = plan.diff_id.file_name();
        layers
            .publish(staging, &name)
            .map_err(|error| LayerError::io(&plan.layer, layers.path(&name), error))
    });
    (published, kept)
}
