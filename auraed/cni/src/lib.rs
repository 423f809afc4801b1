//! Network plugins by the specification 1.1 of the Container Network Interface (CNI).
//!
//! ```text
//!  /etc/cni/net.d ──inotify──► Directory ──NetworkConfig──► Runtime ──ADD, CHECK, DEL, GC, STATUS, VERSION──► plugins
//!                                                              │
//!                                                              └─► Store: what was added, with the configuration of then
//! ```
//!
//! A [`Directory`] says which network is configured now; a [`Runtime`] runs its plugins, one chain at a time for an
//! attachment, and keeps on the disk what DEL will need: the record is there before the first plugin runs, so that
//! whatever is killed when, a later [`Runtime::delete`] or [`Runtime::collect`] takes away what was made.
//!
//! Plugins are the administrator's programs and run as root; what they print is still read with care: bounded, and
//! believed only where it is what the specification says. A plugin that takes too long is killed with all of its process
//! group. No shell is involved, and nothing is polled.
//!
//! This crate knows nothing of pods: ids, namespaces, arguments and capabilities are its caller's.

mod attachment;
mod config;
mod directory;
mod error;
mod locks;
mod orphan;
mod plugin;
mod record;
mod result;
mod runtime;
mod store;
mod version;

pub use attachment::{Attachment, Bandwidth, Dns, PortMapping, capability};
pub use config::{ConfigError, NetworkConfig, PluginConfig};
pub use directory::{Directory, Problem, Selected};
pub use error::{Error, ErrorObject, Verb};
pub use result::{Added, ResultError};
pub use runtime::{Runtime, Settings};
pub use version::Version;
