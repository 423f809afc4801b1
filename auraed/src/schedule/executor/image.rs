//! A container's image: here already, pulled, or a reason why not.

use std::time::Instant;

use auraed_image::{Credentials, Image, Reference};
use auraed_types::Pod;
use auraed_types::pod::PullPolicy;
use tokio::sync::mpsc;

use super::node::Task;
use crate::schedule::machine::{ImageFacts, ImageFailure, Index, Input, Pulled};
use crate::server::chain;
use crate::stop_signal;

impl Task {
    pub(super) async fn fetch_image(self, container: Index) {
        let input = match self.image(container).await {
            Ok((image, pulled)) => Input::ImageReady {
                container,
                image,
                pulled,
            },
            Err(failure) => Input::ImageFailed { container, failure },
        };
        self.tell(input);
    }

    async fn image(&self, index: Index) -> Result<(ImageFacts, Option<Pulled>), ImageFailure> {
        let container = self.container(index);
        let reference: Reference = container
            .image
            .parse()
            .map_err(|error: auraed_image::InvalidReference| ImageFailure::InvalidName(error.to_string()))?;
        if container.pull_policy != PullPolicy::Always {
            if let Some(image) = self.node.images.get(&container.image) {
                return Ok((facts(&image, &reference), None));
            }
            if container.pull_policy == PullPolicy::Never {
                return Err(ImageFailure::NeverPull);
            }
        }
        self.tell(Input::Pulling { container: index });
        let begun = Instant::now();
        let (progress, _) = mpsc::unbounded_channel();
        let credentials = credentials(&self.pod);
        let pulled = self.node.images.pull(&reference, &credentials, progress).await;
        let image = pulled.map_err(|error| ImageFailure::Pull(chain(&error)))?;
        let pulled = Pulled {
            took: begun.elapsed(),
            size_bytes: image.size_bytes,
        };
        Ok((facts(&image, &reference), Some(pulled)))
    }
}

fn credentials(pod: &Pod) -> Vec<Credentials> {
    pod.credentials
        .iter()
        .map(|credentials| Credentials {
            registry: credentials.registry.clone(),
            username: credentials.username.clone(),
            password: credentials.password.expose().to_owned(),
            identity_token: credentials.identity_token.expose().to_owned(),
            registry_token: credentials.registry_token.expose().to_owned(),
        })
        .collect()
}

fn facts(image: &Image, reference: &Reference) -> ImageFacts {
    let repository = format!("{}@", reference.name());
    let digest = image
        .digests
        .iter()
        .find(|digest| digest.starts_with(&repository))
        .or(image.digests.first());
    ImageFacts {
        id: image.id.clone(),
        shown: digest.unwrap_or(&image.id).clone(),
        stop_signal: stop_signal::number(&image.config.stop_signal).unwrap_or(stop_signal::DEFAULT),
    }
}
