//! The store against a real registry (Debian's docker-registry), and against servers that break what a registry would
//! not. Needs root: layers have owners and devices.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails its test")]

mod authentication;
mod concurrency;
mod faults;
mod import;
mod mirrors;
mod pull;
mod remove;
mod resume;
mod space;
mod support;
