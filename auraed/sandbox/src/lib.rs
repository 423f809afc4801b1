//! The kernel seam of auraed: pod inits, namespaces, cgroups, seccomp and the pod network.
//!
//! Called by auraed's engine (`schedule`) and its executive (`runtime`); nothing above this crate knows a kernel path
//! or a system call.
//!
//! ```text
//!  schedule / runtime
//!      │  Host, Sandbox, Events                 this crate, in the daemon
//!      ▼
//!  init.sock ──► aurae-pod-init (one a pod) ──► containers          auraed-pod-init
//! ```
//!
//! * [`Host`]: what all pods of one daemon share: directories, cgroup layout, the pod init's sealed program.
//! * [`Sandbox`]: a cheap handle to one pod init, created or adopted; its [`Events`] end when that process ends.
//! * [`cgroup`] and [`network`]: limits, statistics, links and rules, each on its own.
//!
//! What fails here is an error value with the step and the path in it. A dead daemon costs nothing: the pod inits
//! hold everything, and [`Sandbox::adopt`] asks them.

pub mod apparmor;
pub mod cgroup;
pub mod network;

mod capability;
mod host;
mod sandbox;
pub mod seccomp;
mod sys;

pub use self::capability::{Capabilities, UnknownCapability};
pub use self::host::{Host, HostConfig, HostError};
pub use self::sandbox::{
    Attachment, ContainerRun, ContainerSpec, Device, DeviceNumber, Error, Events, Exec, ExecSpec, IdMapping,
    IdMappings, Leftovers, Mount, MountKind, NetworkNamespace, PidMode, Propagation, ResolvedUser,
    Restrictions, Root, Rootfs, RunState, Sandbox, SandboxEvent, SandboxSpec, Seccomp, StartError,
    TerminalSize, Tmpfs, User, UserNamespace, check_mounts, default_masked_paths, default_read_only_paths,
    end_sandbox, read_exit_record, remove_leftovers,
};
