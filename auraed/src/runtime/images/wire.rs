//! Images and their progress as messages.

use auraed_api::runtime::v0 as api;
use auraed_image::{Credentials, Image, LayerState, Progress, Usage};
use auraed_types::status::to_wire_time;
use std::path::Path;

pub(super) fn image(image: &Image, pinned: bool) -> api::Image {
    api::Image {
        id: image.id.clone(),
        tags: image.tags.clone(),
        digests: image.digests.clone(),
        size_bytes: image.size_bytes,
        created_at: image.created_at.map(to_wire_time),
        architecture: image.architecture.clone(),
        operating_system: image.os.clone(),
        user: image.config.user.clone(),
        entrypoint: image.config.entrypoint.clone(),
        command: image.config.command.clone(),
        layers: u32::try_from(image.layers.len()).unwrap_or(u32::MAX),
        pinned,
        labels: image.config.labels.clone().into_iter().collect(),
        working_directory: image.config.working_directory.clone(),
        env: image.config.env.clone(),
        stop_signal: image.config.stop_signal.clone(),
    }
}

pub(super) fn usage(directory: &Path, usage: Usage) -> api::FilesystemUsage {
    api::FilesystemUsage {
        mountpoint: directory.to_string_lossy().into_owned(),
        used_bytes: usage.bytes,
        inodes_used: usage.inodes,
    }
}

pub(super) fn progress(progress: &Progress) -> api::LayerProgress {
    let state = match progress.state {
        LayerState::Waiting => api::LayerState::Waiting,
        LayerState::Fetching => api::LayerState::Fetching,
        LayerState::Done => api::LayerState::Done,
        LayerState::Present => api::LayerState::Present,
    };
    api::LayerProgress {
        digest: progress.digest.to_string(),
        done_bytes: progress.done_bytes,
        total_bytes: progress.total_bytes,
        state: state.into(),
    }
}

pub(super) fn credentials(credentials: api::RegistryCredentials) -> Credentials {
    Credentials {
        registry: credentials.registry,
        username: credentials.username,
        password: credentials.password,
        identity_token: credentials.identity_token,
        registry_token: credentials.registry_token,
    }
}
