//! Kubernetes and Aurae, translated: plain functions from value to value.
//!
//! The bridge and the command line call in here; nothing in here calls out. No I/O, no clock, no async: whoever calls
//! hands in what was fetched ([`Objects`]), what the node is ([`Node`]) and what time it is.
//!
//! ```text
//! Pod ──references──► what to fetch            Event (aurae) ──event──► Event
//! Pod + Objects + Node ──pod::to_aurae──► aurae Pod, or Problems
//! Pod + Objects + Node ──volumes──► Files to replace
//! aurae PodStatus + Pod + Node ──status──► PodStatus ──patch──► a PATCH's body
//! GetNodeResponse + Registration ──node──► Node, Lease
//! manifests ──manifest──► Pods, ConfigMaps, Secrets
//! the CRI's requests and answers ◄──cri──► those of aurae.runtime
//! ```
//!
//! What cannot be translated comes back as a [`Problem`] with the path of the field; nothing is dropped silently, and
//! [`coverage`] is the table that says so for every field.

mod objects;
mod problem;
mod references;
mod strategic;
mod time;

pub mod coverage;
pub mod cri;
pub mod event;
pub mod manifest;
pub mod node;
pub mod pod;
pub mod quantity;
pub mod status;

pub use node::Node;
pub use objects::{Objects, TokenKey};
pub use pod::volume::volumes;
pub use problem::{Kind, Problem};
pub use references::{References, references};
