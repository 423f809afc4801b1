//! The configuration as it is written in the file. Everything may be absent.

use super::{Config, LogFormat, Registry};
use crate::network::Mode;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The file. `auraed config` prints the effective one in the same form.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub(super) state_dir: Option<PathBuf>,
    pub(super) run_dir: Option<PathBuf>,
    pub(super) log_dir: Option<PathBuf>,
    pub(super) socket: Option<PathBuf>,
    pub(super) cgroup_root: Option<String>,
    pub(super) trust_domain: Option<String>,
    pub(super) network: Network,
    pub(super) container_logs: ContainerLogs,
    pub(super) log: Log,
    pub(super) images: Images,
    pub(super) runtime: Runtime,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Network {
    /// Of old: false is the mode none.
    pub(super) enabled: Option<bool>,
    pub(super) mode: Option<Mode>,
    pub(super) cni_config_dir: Option<PathBuf>,
    pub(super) cni_bin_dirs: Option<Vec<PathBuf>>,
    pub(super) bridge: Option<String>,
    pub(super) subnet: Option<String>,
    pub(super) table: Option<String>,
    pub(super) mtu: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Images {
    pub(super) docker_config: Option<PathBuf>,
    pub(super) pinned: Vec<String>,
    pub(super) parallel_layers: Option<u32>,
    pub(super) parallel_layers_of_all: Option<u32>,
    pub(super) partial_layers_bytes: Option<u64>,
    pub(super) partial_layers_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) registries: Vec<Registry>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Runtime {
    pub(super) handlers: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ContainerLogs {
    pub(super) max_bytes: Option<u64>,
    pub(super) max_files: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) level: Option<String>,
    pub(super) format: Option<LogFormat>,
}

impl From<&Config> for File {
    fn from(config: &Config) -> Self {
        Self {
            state_dir: Some(config.state_dir.clone()),
            run_dir: Some(config.run_dir.clone()),
            log_dir: Some(config.log_dir.clone()),
            socket: Some(config.socket.clone()),
            cgroup_root: Some(config.cgroup_root.clone()),
            trust_domain: Some(config.trust_domain.to_string()),
            network: Network {
                enabled: None,
                mode: Some(config.network.mode),
                cni_config_dir: Some(config.network.cni_config_dir.clone()),
                cni_bin_dirs: Some(config.network.cni_bin_dirs.clone()),
                bridge: Some(config.network.bridge.clone()),
                // A named one would count more than an assigned one.
                subnet: config.network.subnet.map(|subnet| subnet.to_string()),
                table: Some(config.network.table.clone()),
                mtu: config.network.mtu,
            },
            container_logs: ContainerLogs {
                max_bytes: Some(config.container_logs.max_bytes),
                max_files: Some(config.container_logs.max_files),
            },
            log: Log {
                level: Some(config.log.level.clone()),
                format: Some(config.log.format),
            },
            images: Images {
                docker_config: config.images.docker_config.clone(),
                pinned: config.images.pinned.patterns(),
                parallel_layers: Some(config.images.parallel_layers),
                parallel_layers_of_all: Some(config.images.parallel_layers_of_all),
                partial_layers_bytes: Some(config.images.partial_layers_bytes),
                partial_layers_seconds: Some(config.images.partial_layers_age.as_secs()),
                registries: config.images.registries.clone(),
            },
            runtime: Runtime {
                handlers: config.runtime.handlers.clone(),
            },
        }
    }
}

impl Config {
    /// The effective configuration as a file that leads to it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Paths that are not UTF-8 are all that can fail, and such a path cannot come from a file.
        toml::to_string_pretty(&File::from(self)).unwrap_or_else(|error| format!("# {error}\n"))
    }
}
