//! The daemon: every decision and every privileged act of an Aurae node.
//!
//! ```text
//!  main ── config ──► daemon ── builds, spawns, drains ─┐
//!                                                        │
//!   socket ─► server (TLS, tenant, method table, one log line a failed request)
//!               ├─► runtime   exec, signal, images: acts, remembers nothing; sandboxes, one verb at a time
//!               ├─► schedule  the pod engine: one driver task a pod, which owns all of that pod's state
//!               ├─► mount     content of volumes
//!               ├─► network   what a pod is attached to
//!               └─► observe   facts of the node, logs, events, timelines
//! ```
//!
//! What should run is in SQLite (`auraed-state`), what does run is asked of the pod inits (`auraed-sandbox`). The daemon
//! may be killed at any instruction: pods go on, and the next daemon adopts them.

pub mod config;
pub mod daemon;
mod descriptor;
mod files;
mod lowest;
pub mod mount;
pub mod network;
pub mod observe;
pub mod runtime;
pub mod schedule;
pub mod server;
mod stop_signal;
