//! What pods without a pod init leave behind, and the records that they wrote.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::Path;

use auraed_pod_init::protocol::{ContainerRun, ExitRecord};

use super::{Error, launch, placement};
use crate::Host;

/// What was found of pods that nobody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// They had no pod init and are gone now: cgroups and run directories.
    pub removed: Vec<String>,
    /// Their pod init runs: adopt and destroy them.
    pub running: Vec<String>,
}

/// Removes cgroups and run directories of pods that are not `live` and have no pod init. For the daemon's start, after its
/// own pods were adopted and before new ones are made.
///
/// # Errors
/// If the run directory cannot be read. A pod of which something cannot be removed is logged and tried again next time.
pub async fn remove_leftovers(host: &Host, live: &HashSet<String>) -> io::Result<Leftovers> {
    let mut found = Leftovers::default();
    for id in pods(host)?.into_iter().filter(|id| !live.contains(id)) {
        if launch::connect_to(&host.pod_directory(&id)).is_ok_and(|init| init.is_some()) {
            found.running.push(id);
            continue;
        }
        launch::remove(host, &id).await;
        if placement::recorded(host, &id).is_some() {
            // Its cgroup is still there, and nothing else knows where.
            continue;
        }
        let directory = host.pod_directory(&id);
        // Its other files are the daemon's own, which it does not know any more.
        match tokio::fs::remove_dir_all(&directory).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(pod = %id, %error, "cannot remove a pod's run directory");
            }
            _ => {}
        }
        found.removed.push(id);
    }
    Ok(found)
}

/// Ends what is left of a pod's sandbox without asking it: kills the pod init, which may not answer, and removes cgroups and
/// what this crate has put into the run directory. Succeeds if there is nothing.
///
/// # Errors
/// If the run directory cannot be looked at, or the cgroups stay because processes hang in the kernel.
pub async fn end_sandbox(host: &Host, id: &str) -> Result<(), Error> {
    match launch::connect_to(&host.pod_directory(id)) {
        Ok(Some((_, _, handle))) => launch::end(&handle).await,
        Ok(None) => {}
        // Who it is cannot be asked: it ends with its cgroup.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
        Err(error) => return Err(launch::step("find the init", id)(error)),
    }
    let removed = placement::remove(host, id).await;
    launch::remove(host, id).await;
    removed.map_err(launch::cgroup_error("remove the cgroup", id))
}

/// All pods that have a run directory or a cgroup.
fn pods(host: &Host) -> io::Result<BTreeSet<String>> {
    let mut pods: BTreeSet<String> = host.cgroups().pods().into_iter().map(|(_, id)| id).collect();
    for entry in fs_err::read_dir(host.pods_directory())? {
        if let Ok(id) = entry?.file_name().into_string() {
            pods.insert(id);
        }
    }
    Ok(pods)
}

/// Reads what a pod init recorded at [`ContainerSpec::exit_path`](super::ContainerSpec::exit_path). `None`: it did not.
///
/// # Errors
/// If the file cannot be read, or is not such a record.
pub fn read_exit_record(path: &Path) -> io::Result<Option<ContainerRun>> {
    match fs_err::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice::<ExitRecord>(&text)?.run)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
