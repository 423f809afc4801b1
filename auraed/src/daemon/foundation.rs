//! What the API stands on: everything that works without a client.

use super::locks::Locks;
use super::{DaemonError, images, places};
use crate::config::Config;
use crate::lowest;
use crate::network::{self, PodNetwork};
use crate::runtime::{Sandboxes, sandboxes};
use crate::schedule::{Dependencies, Directories, Engine};
use auraed_image::Store;
use auraed_sandbox::network::NetworkConfig;
use auraed_sandbox::{Host, HostConfig};
use auraed_state::State;
use std::sync::Arc;

/// The subsystems, in the order of their making; they end in the opposite one.
pub(super) struct Foundation {
    config: Config,
    pub(super) state: State,
    pub(super) host: Arc<Host>,
    pub(super) network: PodNetwork,
    pub(super) images: Store,
    pub(super) sandboxes: Sandboxes,
    pub(super) engine: Engine,
    /// Freed last.
    locks: Locks,
}

impl Foundation {
    /// Makes the directories, keeps other daemons out, and takes over what runs.
    pub(super) async fn lay(config: &Config) -> Result<Self, DaemonError> {
        if !rustix::process::geteuid().is_root() {
            return Err(DaemonError::NotRoot);
        }
        places::make(config)?;
        let locks = Locks::take(config).await?;
        places::ensure_memory(config)?;
        let built = Self::build(config, locks).await;
        if built.is_err() {
            places::release_memory(config);
        }
        built
    }

    async fn build(config: &Config, locks: Locks) -> Result<Self, DaemonError> {
        let state = State::open(&config.state_dir.join("aurae.db"))?;
        let host = Arc::new(Host::new(HostConfig {
            run_dir: config.run_dir.clone(),
            state_dir: config.state_dir.clone(),
            cgroup_root: config.cgroup_root.clone(),
            log_max_bytes: config.container_logs.max_bytes,
            log_max_files: config.container_logs.max_files,
        })?);
        let network = start_network(config, &state).await?;
        load_default_profile().await;
        let images = images::open(config, &state).await?;
        lowest::make(&config.state_dir).map_err(|source| DaemonError::Directory {
            path: config.state_dir.clone(),
            flag: "--state-dir",
            source,
        })?;
        let sandboxes = Sandboxes::start(sandboxes::Dependencies {
            state: state.clone(),
            images: images.clone(),
            host: Arc::clone(&host),
            network: network.clone(),
            directories: sandboxes::Directories {
                state: config.state_dir.clone(),
                run: config.run_dir.clone(),
            },
            handlers: config.runtime.handlers.clone(),
        })
        .await?;
        // It removes what belongs to nobody.
        let engine = Engine::start(Dependencies {
            state: state.clone(),
            images: images.clone(),
            host: Arc::clone(&host),
            network: network.clone(),
            directories: Directories {
                state: config.state_dir.clone(),
                run: config.run_dir.clone(),
                log: config.log_dir.clone(),
            },
            others: sandboxes.live(),
        })
        .await?;
        network.reconcile().await;
        sandboxes.settle();
        Ok(Self {
            config: config.clone(),
            state,
            host,
            network,
            images,
            sandboxes,
            engine,
            locks,
        })
    }

    /// Ends everything but the pods.
    pub(super) async fn close(self) {
        let config = self.config.clone();
        let (_, locks) = self.dismantle().await;
        places::release_memory(&config);
        drop(locks);
    }

    /// Ends both engines, images and state; what is left is the network, and the locks that keep others away.
    pub(super) async fn dismantle(self) -> (PodNetwork, Locks) {
        self.engine.shutdown().await;
        self.sandboxes.shutdown().await;
        self.network.close().await;
        self.state.close().await;
        (self.network, self.locks)
    }
}

/// Containers go without it where it cannot be had, as they do where the kernel has no AppArmor.
async fn load_default_profile() {
    match auraed_sandbox::apparmor::load_default().await {
        Ok(true) => tracing::info!("the default AppArmor profile is loaded"),
        Ok(false) if auraed_sandbox::apparmor::is_enabled() => {
            tracing::warn!(
                "there is no apparmor_parser: containers without a profile of their own are unconfined"
            );
        }
        Ok(false) => {}
        Err(error) => tracing::warn!(
            %error,
            "cannot load the default AppArmor profile: containers without one of their own are unconfined"
        ),
    }
}

async fn start_network(config: &Config, state: &State) -> Result<PodNetwork, DaemonError> {
    let network = &config.network;
    let config = network::Config {
        mode: network.mode,
        embedded: NetworkConfig {
            bridge: network.bridge.clone(),
            table: network.table.clone(),
            mtu: network.mtu,
        },
        subnet: network.subnet,
        default_subnet: network.default_subnet,
        cni_config_dir: network.cni_config_dir.clone(),
        cni_bin_dirs: network.cni_bin_dirs.clone(),
        state_dir: config.state_dir.clone(),
    };
    Ok(PodNetwork::start(config, state.clone()).await?)
}
