//! Images: registry, content, layers. Every byte that comes in is hostile until its digest is checked, and every
//! layer is hostile after that.
//!
//! ```text
//!              Reference, Credentials                          archive (OCI layout or docker-save)
//!                       │                                                │
//!   registry: mirrors, then the registry            import: spooled to ingest/, blobs in any order
//!                       │ manifest, configuration, layers                │
//!                       └──────────────► layer (at most 3 side by side) ◄┘
//!         network ─► digest ─► channel ─► blocking thread: inflate ─► diff-id ─► unpack (one root descriptor)
//!                                              │
//!                       ingest/<n>/ ─ rename ─► layers/sha256-<diff-id>/root/      one overlayfs lower directory
//!                                              │
//!                                  store: catalog in memory, Index for what outlives the process
//! ```
//!
//! [`Store`] is the only way in. Its callers are auraed's image service and both engines. A layer is inflated as it
//! arrives; of compressed blobs nothing is kept but what large layers need to go on after an interruption (`partial`),
//! and the archive of an import until it is unpacked.
//!
//! On failure nothing is left but what was whole before: a layer appears by one rename, an image by one call of
//! [`Index::put`] after all its layers are there. What a killed process leaves is in `ingest/`, or is a layer that no
//! image names; [`Store::open`] removes both, and forgets an image one of whose layers is gone. Parts of large layers in
//! `partial/` stay for the next pull, for a day and within a bound, and nothing is believed of them.

mod catalog;
mod config;
mod correction;
mod credentials;
mod digest;
mod document;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod import;
mod layer;
mod layers;
mod partial;
mod pinned;
mod platform;
mod progress;
mod reference;
mod registry;
mod store;
mod unpack;
mod usage;

pub use config::{Config, RegistryConfig};
pub use credentials::Credentials;
pub use digest::{Digest, InvalidDigest};
pub use error::{ErrorKind, ImportError, OpenError, PullError, RemoveError};
pub use image::{Image, ImageConfig, Layer};
pub use pinned::Pinned;
pub use progress::{LayerState, Progress};
pub use reference::{InvalidReference, Reference};
pub use store::{Index, IndexError, Removed, Store, WhileUsed};
pub use usage::Usage;
