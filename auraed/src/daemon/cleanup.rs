//! `auraed cleanup`: stops every pod of this configuration and takes away what the daemon put on the machine.
//!
//! It takes the daemon's locks, so it never runs beside one. Each part is tried, whatever became of the one before, and
//! all failures are told at the end; what is gone already is no failure.

use super::foundation::Foundation;
use super::{DaemonError, locks, places};
use crate::config::Config;
use crate::server::chain;
use auraed_sandbox::cgroup::{self, Tree};
use auraed_sandbox::{end_sandbox, remove_leftovers};
use std::collections::HashSet;
use std::io;
use std::path::Path;
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
    let pods = known_pods(config);
    let foundation = Foundation::lay(config).await?;
    let mut failures = Vec::new();
    remove_pods(&foundation, extent.grace, &mut failures).await;
    let left = foundation.sandboxes.remove_all().await;
    failures.extend(left.iter().map(|error| chain(error)));
    remove_strays(&foundation, &mut failures).await;
    failures.extend(foundation.network.collect().await);
    let (network, locks) = foundation.dismantle().await;
    if let Err(error) = network.remove().await {
        failures.push(chain(&error));
    }
    if let Err(error) = remove_cgroups(config).await {
        failures.push(chain(&error));
    }
    // A pod that could not be ended is found by what it has there.
    if failures.is_empty() {
        places::discard_memory(config);
    }
    remove_places(config, &mut failures);
    if extent.everything {
        remove_for_good(config, &pods, &mut failures);
    }
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

/// Ends pod inits that the engine did not know: the state file was lost. They are not asked, for they may not answer.
async fn remove_strays(foundation: &Foundation, failures: &mut Vec<String>) {
    let nobody = HashSet::new();
    match remove_leftovers(&foundation.host, &nobody).await {
        Ok(found) => {
            for id in found.running {
                tracing::warn!(pod = id, "ending a pod that the state file does not name");
                if let Err(error) = end_sandbox(&foundation.host, &id).await {
                    failures.push(chain(&error));
                }
            }
        }
        Err(error) => failures.push(chain(&error)),
    }
    // What those had beside their inits.
    if let Err(error) = remove_leftovers(&foundation.host, &nobody).await {
        failures.push(chain(&error));
    }
}

async fn remove_cgroups(config: &Config) -> Result<(), cgroup::Error> {
    let (tree, _) = Tree::detect(&config.cgroup_root)?;
    tree.remove().await
}

/// The ids of all pods that have a directory: also of those that the state file does not name.
fn known_pods(config: &Config) -> Vec<String> {
    let directories = [places::pods(config), config.state_dir.join("pods")];
    let entries = directories
        .iter()
        .filter_map(|directory| fs_err::read_dir(directory).ok())
        .flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

/// Takes the run directory's files away, the lock file last. A directory that others put something into stays.
fn remove_places(config: &Config, failures: &mut Vec<String>) {
    for removed in [
        fs_err::remove_file(&config.socket),
        remove_if_empty(&places::pods(config)),
        fs_err::remove_file(config.run_dir.join(locks::PROCESS_FILE)),
        remove_if_empty(&config.run_dir),
    ] {
        note(removed, failures);
    }
}

/// Takes away what outlives the daemon on purpose. The log directory may be others' as well: only these pods' logs go.
fn remove_for_good(config: &Config, pods: &[String], failures: &mut Vec<String>) {
    note(fs_err::remove_dir_all(&config.state_dir), failures);
    let entries = fs_err::read_dir(&config.log_dir).map(|entries| entries.flatten().collect::<Vec<_>>());
    for entry in entries.unwrap_or_default() {
        let name = entry.file_name();
        // <namespace>_<name>_<id>: neither of the first two holds an underscore.
        let id = name.to_str().and_then(|name| name.splitn(3, '_').nth(2));
        if id.is_some_and(|id| pods.iter().any(|pod| pod == id)) {
            note(fs_err::remove_dir_all(entry.path()), failures);
        }
    }
    note(remove_if_empty(&config.log_dir), failures);
}

fn note(result: io::Result<()>, failures: &mut Vec<String>) {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => failures.push(error.to_string()),
        _ => {}
    }
}

fn remove_if_empty(path: &Path) -> io::Result<()> {
    match fs_err::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other,
    }
}
