//! `auraed cleanup`: stops every pod of this configuration and takes away what the daemon put on the machine.
//!
//! It takes the daemon's locks, so it never runs beside one. Each part is tried, whatever became of the one before, and
//! all failures are told at the end; what is gone already is no failure.

use super::foundation::Foundation;
use super::{DaemonError, locks, places};
use crate::config::Config;
use crate::server::chain;
use auraed_sandbox::cgroup::{self, Tree};
use auraed_sandbox::network::{Network, NetworkError};
use auraed_sandbox::{Sandbox, remove_leftovers};
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// What is cleaned up.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// How long pods may take to stop; `None` for each one's own grace period.
    pub grace: Option<Duration>,
    /// Also state, images, identity and logs: what outlives the daemon on purpose.
    pub everything: bool,
}

/// Cleans up. The next start of a daemon makes everything anew.
///
/// # Errors
/// [`DaemonError::Leftovers`] with all that could not be removed; other variants if nothing could be tried.
pub async fn cleanup(config: &Config, extent: Extent) -> Result<(), DaemonError> {
    let foundation = Foundation::lay(config).await?;
    let mut failures = Vec::new();
    remove_pods(&foundation, extent.grace, &mut failures).await;
    remove_strays(config, &foundation, &mut failures).await;
    let (network, locks) = foundation.dismantle().await;
    if let Some(Err(error)) = remove_network(network).await {
        failures.push(chain(&error));
    }
    if let Err(error) = remove_cgroups(config).await {
        failures.push(chain(&error));
    }
    places::release_memory(config);
    remove_places(config, extent.everything, &mut failures);
    drop(locks);
    if failures.is_empty() {
        Ok(())
    } else {
        Err(DaemonError::Leftovers { failures })
    }
}

/// Stops the pods that the engine knows, side by side.
async fn remove_pods(foundation: &Foundation, grace: Option<Duration>, failures: &mut Vec<String>) {
    let mut removals = JoinSet::new();
    for status in foundation.engine.list() {
        let engine = foundation.engine.clone();
        removals.spawn(async move { engine.remove(status.id.as_str(), grace).await });
    }
    while let Some(removed) = removals.join_next().await {
        match removed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failures.push(chain(&error)),
            Err(error) => failures.push(error.to_string()),
        }
    }
}

/// Ends pod inits that the engine did not know: the state file was lost.
async fn remove_strays(config: &Config, foundation: &Foundation, failures: &mut Vec<String>) {
    let entries = fs_err::read_dir(places::pods(config)).map(|entries| entries.flatten().collect());
    let entries: Vec<_> = entries.unwrap_or_default();
    for name in entries
        .iter()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        match Sandbox::adopt(&foundation.host, &name).await {
            Ok(None) => {}
            Ok(Some((sandbox, _, _))) => {
                tracing::warn!(pod = name, "ending a pod that the state file does not name");
                if let Err(error) = sandbox.destroy().await {
                    failures.push(chain(&error));
                }
            }
            Err(error) => failures.push(chain(&error)),
        }
    }
    if let Err(error) = remove_leftovers(&foundation.host, &HashSet::new()).await {
        failures.push(chain(&error));
    }
}

async fn remove_network(network: Option<Arc<Network>>) -> Option<Result<(), NetworkError>> {
    // The engine had the other handle, and is gone.
    Some(network.and_then(Arc::into_inner)?.remove().await)
}

async fn remove_cgroups(config: &Config) -> Result<(), cgroup::Error> {
    let (tree, _) = Tree::detect(&config.cgroup_root)?;
    tree.remove().await
}

/// Takes the daemon's files away, the lock files last. Directories that others put something into stay.
fn remove_places(config: &Config, everything: bool, failures: &mut Vec<String>) {
    let mut attempt = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => failures.push(error.to_string()),
        _ => {}
    };
    attempt(fs_err::remove_file(&config.socket));
    attempt(remove_if_empty(&places::pods(config)));
    if everything {
        attempt(fs_err::remove_dir_all(&config.state_dir));
        attempt(remove_if_empty(&config.log_dir));
    }
    attempt(fs_err::remove_file(config.run_dir.join(locks::PROCESS_FILE)));
    attempt(remove_if_empty(&config.run_dir));
}

fn remove_if_empty(path: &Path) -> io::Result<()> {
    match fs_err::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other,
    }
}
