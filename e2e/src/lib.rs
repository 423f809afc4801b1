//! The real thing: control plane, registry, images, crash runs, figures.
//!
//! ```text
//!  Scratch ── one directory and one guard process a run; the guard removes what a crash leaves
//!    ├─ NetworkNamespace   all traffic of the run; its threads start the programs
//!    ├─ Cluster            etcd, API server, controller manager, scheduler, as plain programs
//!    ├─ Registry           Debian's docker-registry over a storage that `images` writes
//!    └─ Node               auraed (root) and kubelet-bridge (an ordinary user), killed and started again at will
//! ```
//!
//! Nothing is mocked that can run. Called by `tests/it` (the suite), the binary `e2e` (a cluster to try, benchmarks,
//! the guard) and through both by `cargo xtask`. Every failure is an `anyhow::Error` that says which program and where
//! its log is; tests panic with it.

pub mod apparmor;
pub mod bench;
pub mod cluster;
pub mod containerd;
pub mod critest;
pub mod demo;
pub mod home;
pub mod images;
pub mod kubectl;
pub mod kubelet;
pub mod leftovers;
pub mod memory;
pub mod network;
pub mod node;
pub mod pods;
pub mod process;
pub mod registry;
pub mod relay;
pub mod scratch;
pub mod skip;
pub mod suite;
pub mod sweep;
pub mod wait;

/// Prints text for the person who runs a tool.
pub fn say(text: &str) {
    // A closed terminal is no reason to stop.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    let _ = std::io::Write::write_all(&mut std::io::stdout(), b"\n");
}
