//! Opening a store: what is on the disk and what the index says are made to agree.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::{Index, Inner};
use crate::catalog::Catalog;
use crate::layers::Layers;
use crate::partial::Partials;
use crate::registry::Registries;
use crate::{Config, Image, OpenError};

pub(super) async fn open(
    config: Config,
    images: Vec<Image>,
    index: Arc<dyn Index>,
) -> Result<Inner, OpenError> {
    let directory = config.directory.clone();
    let prepared = tokio::task::spawn_blocking(move || prepare(&config, images).map(|done| (config, done)));
    let failed = |source| OpenError::Io {
        path: directory,
        source,
    };
    let (config, (layers, partials, whole, broken)) = match prepared.await {
        Ok(result) => result.map_err(failed)?,
        Err(error) => return Err(failed(std::io::Error::other(error))),
    };
    for image in broken {
        tracing::warn!(id = image.id, tags = ?image.tags, "layers of an image are gone; it has to be pulled again");
        let removed = index.remove(&image.id).await;
        removed.map_err(|source| OpenError::Index { id: image.id, source })?;
    }
    partials.expire_in_time();
    Ok(Inner {
        directory: config.directory.clone(),
        registries: Registries::new(config.registries),
        docker_config: config.docker_config,
        layers,
        partials,
        index,
        catalog: Mutex::new(Catalog::new(whole)),
        turn: Arc::default(),
        pulls: Default::default(),
        fetching: Default::default(),
        slots: Semaphore::new(config.parallel_layers_of_all.max(1)),
        parallel_layers: config.parallel_layers.max(1),
    })
}

/// Makes the directories, sorts the images into whole and broken ones, and removes layers that none of the whole has.
fn prepare(
    config: &Config,
    images: Vec<Image>,
) -> std::io::Result<(Layers, Partials, Vec<Image>, Vec<Image>)> {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = &config.directory;
    fs_err::create_dir_all(directory)?;
    // Layers hold setuid programs, which the node's own users must not reach.
    fs_err::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    let layers = Layers::open(directory)?;
    let (whole, broken): (Vec<_>, Vec<_>) = images
        .into_iter()
        .partition(|image| image.stack.iter().all(|name| layers.exists(name)));
    let used = whole
        .iter()
        .flat_map(|image| image.stack.iter().cloned())
        .collect();
    layers.collect(|| used)?;
    let (most, age) = (config.partial_layers_bytes, config.partial_layers_age);
    let partials = Partials::open(directory.join("partial"), most, age)?;
    Ok((layers, partials, whole, broken))
}
