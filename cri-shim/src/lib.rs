//! A CRI v1 server over auraed: the kubelet and crictl of today on an Aurae node.
//!
//! The shim is no privileged program and remembers nothing. What a caller asks for is translated ([`translation::cri`]),
//! asked of auraed over mTLS, and the answer translated back; ids are made of what the caller names, so that a call made
//! twice means the same thing whoever was killed in between.
//!
//! ```text
//!  kubelet ─CRI─► server ─► runtime, image ──aurae──► auraed: SandboxService, ContainerService, ImageService
//!     │                        │  exec, attach, port-forward: a URL
//!     └──HTTP upgrade──► streams ◄──┘ ─────────────► auraed: RuntimeService
//! ```
//!
//! One file a group of calls: [`runtime`] and [`image`] are their tables of contents. auraed's absence is a runtime that
//! is not ready (`Status`), and UNAVAILABLE for every other call; connections mend themselves.

pub mod daemon;
pub mod flags;
pub mod privileges;
pub mod streams;

mod aurae;
mod deadline;
mod dispatch;
mod image;
mod listener;
mod notify;
mod presence;
mod runtime;
mod shim;
mod told;

pub use listener::BindError;
