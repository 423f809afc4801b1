//! Takes secret values out of a wire message, and leaves everything else.

use auraed_api::runtime::v0::environment_variable::Source;
use auraed_api::schedule::v0::{Pod, volume};

/// Blanks values of sensitive variables, contents of sensitive files, and all that opens a registry. Names, paths and
/// modes stay: they tell what is missing.
pub(super) fn redact(pod: &mut Pod) {
    for container in pod.init_containers.iter_mut().chain(&mut pod.containers) {
        for variable in container.env.iter_mut().filter(|variable| variable.sensitive) {
            if let Some(Source::Value(value) | Source::Template(value)) = &mut variable.source {
                value.clear();
            }
        }
    }
    for volume in &mut pod.volumes {
        if let Some(volume::Source::Files(files)) = &mut volume.source
            && files.sensitive
        {
            for file in &mut files.files {
                file.content.clear();
            }
        }
    }
    for credentials in &mut pod.credentials {
        credentials.username.clear();
        credentials.password.clear();
        credentials.identity_token.clear();
        credentials.registry_token.clear();
    }
}
