//! What a container executes.

use auraed_image::ImageConfig;
use auraed_types::pod::Container;

use super::environment::Environment;
use crate::schedule::machine::StartFailure;

/// The pod's command takes the place of the image's entrypoint and default arguments, its arguments that of the latter
/// alone.
pub(super) fn arguments(
    container: &Container,
    image: &ImageConfig,
    environment: &Environment,
) -> Result<Vec<String>, StartFailure> {
    let expand = |texts: &[String]| {
        texts
            .iter()
            .map(|text| environment.expand(text))
            .collect::<Vec<_>>()
    };
    let mut arguments = match (container.command.is_empty(), container.args.is_empty()) {
        (false, _) => expand(&container.command),
        (true, _) => image.entrypoint.clone(),
    };
    if !container.args.is_empty() {
        arguments.extend(expand(&container.args));
    } else if container.command.is_empty() {
        arguments.extend(image.command.iter().cloned());
    }
    if arguments.is_empty() {
        return Err(StartFailure::Create(
            "no command specified, by the pod or by its image".into(),
        ));
    }
    Ok(arguments)
}
