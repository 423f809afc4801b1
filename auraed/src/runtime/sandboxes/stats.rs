//! What sandboxes and containers use.
//!
//! All that is asked for at once is read in one go, off the async threads.

mod usage;

use super::entry::{Container, Entry};
use super::error::SandboxError;
use super::record::{now, to_wire};
use super::registry::InSandbox;
use super::{Filter, Sandboxes, Shared};
use crate::runtime::writable::WritableLayers;
use api::ContainerState;
use auraed_api::runtime::v0 as api;
use auraed_sandbox::cgroup::Group;
use std::collections::HashMap;
use std::sync::Arc;

pub(super) use usage::Look;

impl Sandboxes {
    /// What the sandboxes that fit use, and their running containers. One that has stopped uses nothing, and is told of
    /// where it is named.
    ///
    /// # Errors
    /// [`SandboxError::Ambiguous`]; the writable layers cannot be looked at.
    pub(crate) async fn stats(
        &self,
        id: &str,
        labels: &HashMap<String, String>,
        writable: &WritableLayers,
    ) -> Result<Vec<api::SandboxStats>, SandboxError> {
        let mut entries = self.shared.entries(id, labels)?;
        if id.is_empty() {
            entries.retain(|entry| entry.sandbox().is_ok());
        }
        let layers = self.shared.layers(writable).await?;
        let reading = tokio::task::spawn_blocking(move || {
            let stats = entries.iter().map(|entry| sandbox_stats(entry, &layers));
            stats.collect()
        });
        reading.await.map_err(|_| SandboxError::Stopping)
    }

    /// What the running containers that fit use, and what one that is named wrote.
    ///
    /// # Errors
    /// As [`Sandboxes::stats`].
    pub(crate) async fn container_stats(
        &self,
        filter: &Filter,
        writable: &WritableLayers,
    ) -> Result<Vec<api::ContainerStats>, SandboxError> {
        let mut containers = self.shared.containers(filter)?;
        if filter.id.is_empty() {
            containers.retain(|found| found.container.state() == ContainerState::Running);
        }
        let layers = self.shared.layers(writable).await?;
        let reading = tokio::task::spawn_blocking(move || {
            let stats = containers
                .iter()
                .map(|InSandbox { entry, container }| container_stats(entry, container, &layers));
            stats.collect()
        });
        reading.await.map_err(|_| SandboxError::Stopping)
    }
}

/// What containers wrote, and where that is.
struct Layers {
    shared: Arc<Shared>,
    mountpoint: String,
    measured: Arc<crate::runtime::writable::Measured>,
}

impl Layers {
    fn of(&self, entry: &Entry, container: &Container) -> api::FilesystemUsage {
        let place = self.shared.node.directories.container(entry.id(), container.id());
        let used = self.measured.of(&place.upper()).unwrap_or_default();
        api::FilesystemUsage {
            mountpoint: self.mountpoint.clone(),
            used_bytes: used.bytes,
            inodes_used: used.inodes,
        }
    }
}

impl Shared {
    async fn layers(self: &Arc<Self>, writable: &WritableLayers) -> Result<Layers, SandboxError> {
        let measured = writable.usage().await.map_err(|source| SandboxError::Files {
            action: "measure the files of",
            id: "containers".to_owned(),
            source,
        })?;
        Ok(Layers {
            shared: Arc::clone(self),
            mountpoint: writable.directory().display().to_string(),
            measured,
        })
    }
}

fn sandbox_stats(entry: &Entry, layers: &Layers) -> api::SandboxStats {
    let sandbox = entry.sandbox().ok();
    let group = sandbox.as_ref().and_then(|sandbox| sandbox.cgroup());
    let cgroup = group.map(|group| cgroup_stats(group, entry.look()));
    let interfaces = match &sandbox {
        Some(sandbox) if entry.own_network() => usage::interfaces(sandbox.init_pid()),
        _ => Vec::new(),
    };
    let containers = entry.containers();
    let running = containers
        .iter()
        .filter(|container| container.state() == ContainerState::Running);
    api::SandboxStats {
        sandbox: Some(entry.brief()),
        time: to_wire(now()),
        processes: cgroup.as_ref().map_or(0, |cgroup| cgroup.processes),
        cgroup,
        interfaces,
        containers: running
            .map(|container| container_stats(entry, container, layers))
            .collect(),
    }
}

fn container_stats(entry: &Entry, container: &Container, layers: &Layers) -> api::ContainerStats {
    let sandbox = entry.sandbox().ok();
    let running = sandbox.filter(|_| container.state() == ContainerState::Running);
    let group = running.and_then(|sandbox| sandbox.container_cgroup(container.id()));
    api::ContainerStats {
        container: Some(container.brief()),
        time: to_wire(now()),
        cgroup: group.map(|group| cgroup_stats(&group, container.look())),
        writable_layer: Some(layers.of(entry, container)),
    }
}

fn cgroup_stats(group: &Group, look: &Look) -> api::CgroupStats {
    let stats = group.stats();
    let cpu_usage_nanoseconds = stats.cpu_usage_ns.unwrap_or(0);
    api::CgroupStats {
        cpu_usage_nanoseconds,
        cpu_usage_nanocores: look.rate(cpu_usage_nanoseconds),
        memory_usage_bytes: stats.memory_usage_bytes.unwrap_or(0),
        memory_working_set_bytes: stats.memory_working_set_bytes.unwrap_or(0),
        memory_rss_bytes: stats.memory_rss_bytes.unwrap_or(0),
        memory_limit_bytes: stats.memory_limit_bytes,
        page_faults: stats.page_faults.unwrap_or(0),
        major_page_faults: stats.major_page_faults.unwrap_or(0),
        swap_usage_bytes: stats.swap_usage_bytes,
        processes: stats.pids.unwrap_or(0),
        cpu_pressure: stats.cpu_pressure.map(usage::pressure),
        memory_pressure: stats.memory_pressure.map(usage::pressure),
        io_pressure: stats.io_pressure.map(usage::pressure),
        oom_kills: stats.oom_kills,
    }
}
