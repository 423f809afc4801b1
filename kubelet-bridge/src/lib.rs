//! A node to the API server, without root.

pub mod aurae;
pub mod backoff;
pub mod bridge;
pub mod chain;
pub mod cluster;
pub mod files;
pub mod flags;
pub mod server;
