//! The image store, with its index in the state file.

use super::DaemonError;
use crate::config::Config;
use auraed_image::{Image, Index, IndexError, RegistryConfig, Store};
use auraed_state::State;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// Opens the store over the images that the state file names.
pub(super) async fn open(config: &Config, state: &State) -> Result<Store, DaemonError> {
    let mut images = Vec::new();
    for (id, text) in state.images().await? {
        match serde_json::from_str::<Image>(&text) {
            Ok(image) => images.push(image),
            // Its layers go as nobody's; the next pull brings it back.
            Err(error) => {
                tracing::warn!(id, %error, "an image's record cannot be read: the image is forgotten")
            }
        }
    }
    let registries = config.images.registries.iter().map(|registry| RegistryConfig {
        host: registry.host.clone(),
        mirrors: registry.mirrors.clone(),
        plain_http: registry.plain_http,
        ca_file: registry.ca_file.clone(),
    });
    let store = auraed_image::Config {
        directory: config.state_dir.join("images"),
        registries: registries.collect(),
        docker_config: config.images.docker_config.clone(),
        parallel_layers: count(config.images.parallel_layers),
        parallel_layers_of_all: count(config.images.parallel_layers_of_all),
        partial_layers_bytes: config.images.partial_layers_bytes,
        partial_layers_age: config.images.partial_layers_age,
    };
    Ok(Store::open(store, images, Arc::new(Records(state.clone()))).await?)
}

fn count(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Keeps the store's index in the state file.
struct Records(State);

impl Index for Records {
    fn put<'a>(&'a self, image: &'a Image) -> BoxFuture<'a, Result<(), IndexError>> {
        Box::pin(async move {
            let text = serde_json::to_string(image)?;
            Ok(self.0.put_image(&image.id, text).await?)
        })
    }

    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), IndexError>> {
        Box::pin(async move {
            self.0.remove_image(id).await?;
            Ok(())
        })
    }
}
