//! A container's image: here already, pulled, or a reason why not.

use std::time::Instant;

use auraed_image::{Credentials, Image, Reference};
use auraed_types::Pod;
use auraed_types::pod::PullPolicy;
use tokio::sync::mpsc;

use super::node::Task;
use crate::schedule::machine::{ImageFacts, ImageFailure, Index, Input, Pulled};
use crate::server::chain;

/// What asks a program to end where its image does not say: SIGTERM.
const DEFAULT_STOP_SIGNAL: i32 = 15;

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
        stop_signal: signal(&image.config.stop_signal).unwrap_or(DEFAULT_STOP_SIGNAL),
    }
}

/// A signal by number or by name, with or without `SIG`.
fn signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(real_time) = name.strip_prefix("RTMIN") {
        let offset = if real_time.is_empty() {
            0
        } else {
            real_time.strip_prefix('+')?.parse().ok()?
        };
        return Some(34 + offset).filter(|number| (34..=64).contains(number));
    }
    // signal(7), the numbers of x86 and ARM.
    let names = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let place = names.iter().position(|known| *known == name)?;
    i32::try_from(place + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn stop_signals_are_read_as_images_write_them() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("TERM", 15),
            ("sigquit", 3),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("WINCH", 28),
        ] {
            assert_eq!(signal(text), Some(number), "{text}");
        }
        for text in ["", "SIGFOO", "0", "65", "-1", "SIGRTMIN+99", "RTMIN-1"] {
            assert_eq!(signal(text), None, "{text}");
        }
    }
}
