//! What all pods of one daemon share: its directories, its cgroup layout and the pod init's program.
//!
//! Made once, by the daemon's `main`, and lent to every [`Sandbox`](crate::Sandbox). Dropping it ends nothing.

use std::path::{Path, PathBuf};

use crate::cgroup;

/// Where a daemon keeps things and how logs are rotated.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Sockets and what must be in memory; `pods/<id>` below it.
    pub run_dir: PathBuf,
    /// What outlives a boot.
    pub state_dir: PathBuf,
    /// The directory below each cgroup hierarchy, relative: `aurae`.
    pub cgroup_root: String,
    /// Bytes of one log file before it is rotated.
    pub log_max_bytes: u64,
    /// Log files kept for a container, the current one among them; at least 1.
    pub log_max_files: u32,
}

/// Why a [`Host`] cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Only root can make namespaces, cgroups and mounts.
    #[error("auraed must run as root")]
    NotRoot,
    /// A directory could not be made.
    #[error("cannot make the directory {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The pod init's program could not be put into sealed memory.
    #[error("cannot seal the pod init's program in memory")]
    Program(#[source] std::io::Error),
    /// There is no usable cgroup hierarchy.
    #[error("cannot use the cgroup hierarchies")]
    Cgroup(#[source] std::io::Error),
}

/// What all pods of one daemon share.
#[derive(Debug)]
pub struct Host {
    config: HostConfig,
}

impl Host {
    /// Makes the run directory, looks at the cgroup hierarchies and seals the pod init's program.
    pub fn new(config: HostConfig) -> Result<Self, HostError> {
        Ok(Self { config })
    }

    /// Which cgroup hierarchies this machine has.
    pub fn cgroup_version(&self) -> cgroup::Version {
        cgroup::Version::V2
    }

    /// `run_dir/pods/<id>`.
    pub fn pod_directory(&self, id: &str) -> PathBuf {
        self.run_dir().join("pods").join(id)
    }

    pub(crate) fn run_dir(&self) -> &Path {
        &self.config.run_dir
    }
}
