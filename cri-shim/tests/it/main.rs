//! The shim, called by a client generated from the interface: alone, and with a real auraed, registry and images.
//!
//! Tests share one node; those that kill something have their own. Without root, or without what `cargo xtask setup`
//! brings, all but those of the program alone say that they did not run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod absence;
mod containers;
mod crash;
mod errors;
mod events;
mod figures;
mod images;
mod node;
mod program;
mod runtime;
mod sandboxes;
mod streams;
