//! Where pods come from, and what became of them: three streams into the table of pods ([`crate::pods`]).
//!
//! ```text
//! api       pods bound to this node, by watch          ┐
//! manifest  files of --pod-manifest-path, by inotify   ├──► Input ──► pods::table
//! aurae     statuses, by auraed's watch                ┘
//! ```
//!
//! Each is one task that runs for ever, connects again with back-off and tells what it has anew after that.

use kube::runtime::watcher;

use crate::cluster::{CallError, Cluster};

pub mod api;
pub mod aurae;
pub mod manifest;

/// Keeps book of a watch's error.
pub(crate) fn note(cluster: &Cluster, error: watcher::Error) {
    use watcher::Error;
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            let error = CallError::from(error);
            if error.is_answer() {
                tracing::warn!("a watch is refused, trying again: {error}");
            }
            cluster.note(&error);
        }
        Error::WatchError(status) => {
            tracing::debug!("a watch ends, starting anew: {}", status.message);
        }
        other => tracing::debug!("a watch ends, starting anew: {}", crate::chain::sources(&other)),
    }
}
