//! From a manifest and a configuration to an image of this node, wherever its layers come from.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};

use super::Inner;
use crate::catalog::NewName;
use crate::correction::CorrectionError;
use crate::error::Failure;
use crate::progress::Hub;
use crate::{ErrorKind, Image, Layer, LayerState, correction};

/// Gets one layer to this node: the network, or a spooled archive.
pub(super) trait Origin: Sync {
    /// Fetches a layer, unpacks it, checks it, and publishes it under its name.
    fn fetch(
        &self,
        inner: &Arc<Inner>,
        layer: &Layer,
        hub: &Hub,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Gets the layers that are missing and commits the image under its names. On failure the layers that did arrive stay
/// until the next removal or start, so that trying again soon does not fetch them again; on a full disk they go at once.
pub(super) async fn assemble(
    inner: &Arc<Inner>,
    image: Image,
    names: Vec<NewName>,
    origin: &impl Origin,
    hub: &Hub,
) -> Result<Arc<Image>, Failure> {
    let assembled = gather(inner, image, names, origin, hub).await;
    match &assembled {
        Ok(_) => inner.sync_behind(),
        Err(failure) if failure.kind() == ErrorKind::NoSpace => inner.collect().await,
        Err(_) => {}
    }
    assembled
}

async fn gather(
    inner: &Arc<Inner>,
    mut image: Image,
    names: Vec<NewName>,
    origin: &impl Origin,
    hub: &Hub,
) -> Result<Arc<Image>, Failure> {
    let directories = image.layers.iter().map(|layer| layer.diff_id.file_name());
    let mut pin = inner.layers.pin(directories.collect());
    for layer in &image.layers {
        hub.report(layer, 0, LayerState::Waiting);
    }
    let layers = image.layers.iter();
    let fetches: Vec<_> = layers.map(|layer| ensure(inner, layer, origin, hub)).collect();
    let mut fetches = futures_util::stream::iter(fetches).buffer_unordered(inner.parallel_layers);
    while fetches.try_next().await?.is_some() {}
    drop(fetches);

    let (layers, parts) = (inner.layers.clone(), image.layers.clone());
    let stacked = tokio::task::spawn_blocking(move || {
        let stack = correction::stack(&layers, &parts, &mut pin);
        let stack = stack.map_err(|error| match error {
            CorrectionError::Io(error) => Failure::io(layers.ingest().path(), error),
            error => Failure::Correction(error),
        });
        (stack, pin)
    });
    let (stack, pin) = stacked.await.map_err(|_| Failure::Stopped)?;
    image.stack = stack?;
    inner.commit(image, names, pin).await
}

/// Sees that one layer is here; if another pull is at it, that one's work is waited for.
async fn ensure(inner: &Arc<Inner>, layer: &Layer, origin: &impl Origin, hub: &Hub) -> Result<(), Failure> {
    let name = layer.diff_id.file_name();
    let _turn = inner.fetching.lock(&name).await;
    if inner.layers.exists(&name) {
        hub.report(layer, layer.size_bytes, LayerState::Present);
        return Ok(());
    }
    let _slot = inner.slots.acquire().await.map_err(|_| Failure::Stopped)?;
    hub.report(layer, 0, LayerState::Fetching);
    origin.fetch(inner, layer, hub).await?;
    hub.report(layer, layer.size_bytes, LayerState::Done);
    Ok(())
}
