//! A node to the API server, without root.
//!
//! The bridge holds no pod of its own: what should run is in the API server (or in manifests), what does run is asked of
//! auraed. It can be killed at any instruction, and nothing stops.
//!
//! ```text
//!  kube-apiserver ─watch─► source::api ──┐                          ┌─► auraed: Now, Stop, UpdateFiles, Remove
//!  manifests ─inotify────► source::manifest ─► pods::table ─► pods::worker (one a UID)
//!  auraed ─watch─────────► source::aurae ┘         │                └─► kube-apiserver: PATCH status, DELETE
//!                                                  │ resolve: config maps, secrets, tokens, services
//!  auraed ─events────────► report ─► Events        ▼
//!  auraed ─GetNode───────► node ─► Node, Lease   pods::Directory ─► server: the kubelet's HTTPS API
//! ```
//!
//! Each arrow into a box is one task ([`bridge`] starts them); each box owns its state alone.

pub mod aurae;
pub mod backoff;
pub mod bridge;
pub mod chain;
pub mod cluster;
pub mod files;
pub mod flags;
pub mod node;
pub mod pods;
pub mod report;
pub mod resolve;
pub mod server;
pub mod source;
