//! The container runtime interface and Aurae, translated.
//!
//! ```text
//! PodSandboxConfig ──sandbox::spec──► SandboxSpec          SandboxStatus ──sandbox::status──► PodSandboxStatus
//! ContainerConfig ──container::spec──► ContainerSpec       ContainerStatus ──container::status──► ContainerStatus
//! filters ──filter──► list requests                        stats, events, images ──stats, event, image──► theirs
//! ```
//!
//! A field that this node cannot serve is refused with its path ([`Refused`]); [`coverage`] lists every field of the
//! configurations, and its tests hold what is said there against what is done.

pub mod container;
pub mod coverage;
pub mod event;
pub mod filter;
pub mod id;
pub mod image;
pub mod metrics;
pub mod node;
pub mod sandbox;
pub mod stats;

mod credentials;
mod namespaces;
mod profile;
mod refused;
mod resources;
mod signal;
mod time;

pub use credentials::credentials;
pub use refused::{Refusal, Refused};
pub use resources::{shown as resources_shown, update as resources_update};

#[cfg(test)]
mod tests;
