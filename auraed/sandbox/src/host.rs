//! What all pods of one daemon share: its directories, its cgroup layout and the pod init's program.
//!
//! Made once, by the daemon's `main`, and lent to every [`Sandbox`](crate::Sandbox). Dropping it ends nothing.

mod features;
mod place;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use auraed_pod_init::protocol::LogLimits;
use rustix::fs::{Mode, OFlags};

use crate::sandbox::Room;
use crate::{cgroup, sys};

/// The pod init, as `build.rs` made it.
static PROGRAM: &[u8] = include_bytes!(env!("AURAE_POD_INIT"));

/// Where a daemon keeps things and how logs are rotated.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Sockets and what must be in memory; `pods/<id>` below it.
    pub run_dir: PathBuf,
    /// What outlives a boot. Containers' root file systems and exit records must be below it: a pod init sees nothing else of
    /// the disk.
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
    /// The mount namespace that pod inits begin with could not be made.
    #[error("cannot make the mount namespace of pod inits")]
    Mounts(#[source] std::io::Error),
    /// The pod init's program could not be put into sealed memory.
    #[error("cannot seal the pod init's program in memory")]
    Program(#[source] std::io::Error),
    /// There is no usable cgroup hierarchy.
    #[error("cannot use the cgroup hierarchies")]
    Cgroup(#[from] cgroup::Error),
}

/// What all pods of one daemon share. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Host {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: HostConfig,
    tree: cgroup::Tree,
    program: OwnedFd,
    /// What pod inits begin with copies of.
    mounts: OwnedFd,
    null: OwnedFd,
    user_namespaces: OnceLock<bool>,
    room: Room,
}

impl Host {
    /// Makes the directories, looks at the cgroup hierarchies and seals the pod init's program. What limits will do
    /// without here is logged as warnings.
    pub fn new(config: HostConfig) -> Result<Self, HostError> {
        if !rustix::process::geteuid().is_root() {
            return Err(HostError::NotRoot);
        }
        for path in [config.run_dir.join("pods"), config.state_dir.clone()] {
            fs_err::create_dir_all(&path).map_err(|source| HostError::Directory { path, source })?;
        }
        let (tree, warnings) = cgroup::Tree::detect(&config.cgroup_root)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let mounts = place::make(&tree, &config.state_dir, &config.run_dir).map_err(HostError::Mounts)?;
        let program = sys::seal(c"aurae-pod-init", PROGRAM).map_err(HostError::Program)?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let null = null.map_err(|error| HostError::Program(error.into()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                tree,
                program,
                mounts,
                null,
                user_namespaces: OnceLock::new(),
                room: Room::default(),
            }),
        })
    }

    /// Which cgroup hierarchies this machine has.
    pub fn cgroup_version(&self) -> cgroup::Version {
        self.shared.tree.version()
    }

    /// The daemon's part of the cgroup hierarchies.
    pub fn cgroups(&self) -> &cgroup::Tree {
        &self.shared.tree
    }

    /// Whether a mount can be made read-only with all that is mounted below it.
    pub fn recursive_read_only_supported(&self) -> bool {
        sys::can_change_mounts()
    }

    /// Whether containers can be in user namespaces: the kernel makes them, and the state directory's file system can map
    /// the ids of image layers. The first call tries it, which blocks for some milliseconds.
    pub fn user_namespaces_supported(&self) -> bool {
        *self.shared.user_namespaces.get_or_init(|| {
            // Always the same, so that one that was cut off is found again.
            let scratch = self.shared.config.state_dir.join(".user-namespace");
            let tried = features::try_user_namespace(&scratch);
            if let Err(error) = &tried {
                tracing::warn!(%error, "containers cannot be in user namespaces here");
            }
            tried.is_ok()
        })
    }

    /// `run_dir/pods/<id>`.
    pub fn pod_directory(&self, id: &str) -> PathBuf {
        self.pods_directory().join(id)
    }

    pub(crate) fn pods_directory(&self) -> PathBuf {
        self.run_dir().join("pods")
    }

    pub(crate) fn run_dir(&self) -> &Path {
        &self.shared.config.run_dir
    }

    pub(crate) fn log_limits(&self) -> LogLimits {
        let HostConfig {
            log_max_bytes,
            log_max_files,
            ..
        } = self.shared.config;
        LogLimits {
            max_bytes: log_max_bytes,
            max_files: log_max_files,
        }
    }

    pub(crate) fn program(&self) -> &OwnedFd {
        &self.shared.program
    }

    /// For roots that are made ahead.
    pub(crate) fn room(&self) -> &Room {
        &self.shared.room
    }

    pub(crate) fn mounts(&self) -> &OwnedFd {
        &self.shared.mounts
    }

    pub(crate) fn null(&self) -> &OwnedFd {
        &self.shared.null
    }
}
