//! What an earlier daemon left: pods that run on, pods that died meanwhile, and what belongs to nobody.
//!
//! ```text
//!   SQLite ─► pod (whole from memory, else without its secrets) ─► its init, if it lives ─► its runs on disk ─► Machine
//!                                                       ids without a row ─► run directories, cgroups: removed
//! ```
//!
//! Nothing here stops or starts anything: the machines do, once their drivers run. One pod that cannot be read keeps
//! nobody from theirs; it is left as it is, and an error says so.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use auraed_sandbox::{ContainerRun, Sandbox, end_sandbox};
use auraed_state::PodRow;
use auraed_types::{Pod, PodId};
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use prost::Message as _;

use super::error::StartError;
use super::executor::{Adopted, Node, found_runs, ports};
use super::machine::{Found, FoundSandbox, Machine};
use super::moment::Clock;
use super::places::Places;
use super::record::Record;
use crate::descriptor::is_exhaustion;
use crate::files;
use crate::server::chain;

/// Pods that are looked at side by side.
const AT_ONCE: usize = 16;

/// A pod init answers at once; one that is stopped, or whose machine is that busy, is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pod that is here again.
pub(super) struct Recovered {
    pub(super) machine: Machine,
    pub(super) adopted: Option<Adopted>,
}

/// Looks at everything, and removes what belongs to nobody: neither to a pod nor to one of `others`.
pub(super) async fn all(
    node: &Node,
    clock: Clock,
    others: &HashSet<String>,
) -> Result<Vec<Recovered>, StartError> {
    for directory in [&node.directories.state, &node.directories.run] {
        files::make_private(&directory.join("pods")).map_err(StartError::Directory)?;
    }
    let rows = node.state.pods().await?;
    let known: HashSet<String> = rows.iter().map(|row| row.id.clone()).collect();
    let recovered = futures_util::stream::iter(rows)
        .map(|row| recover_one(node, clock, row))
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|recovered| std::future::ready(Ok(recovered)))
        .try_collect::<Vec<_>>()
        .await?;
    let owners: HashSet<String> = known.union(others).cloned().collect();
    let logs = unknown_logs(node, &owners).await;
    remove_leftovers(node, &owners, logs).await;
    tell_network(node, &known, &recovered);
    Ok(recovered)
}

/// Looks at one pod; absent if it was never written.
pub(super) async fn one(node: &Node, clock: Clock, id: &PodId) -> Result<Option<Recovered>, StartError> {
    let rows = node.state.pods().await?;
    match rows.into_iter().find(|row| *id == row.id.as_str()) {
        Some(row) => recover_one(node, clock, row).await,
        None => Ok(None),
    }
}

async fn recover_one(node: &Node, clock: Clock, row: PodRow) -> Result<Option<Recovered>, StartError> {
    let id = row.id.clone();
    let read = tokio::task::spawn_blocking({
        let directories = node.directories.clone();
        move || read(row, &directories)
    });
    let (pod, mut found) = match read.await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => {
            tracing::error!(pod = id, error, "a pod cannot be read, and is left as it is");
            return Ok(None);
        }
        Err(error) => {
            tracing::error!(pod = id, %error, "a pod cannot be read, and is left as it is");
            return Ok(None);
        }
    };
    let pod = Arc::new(pod);
    let mut adopted = None;
    let mut runs: Vec<ContainerRun> = Vec::new();
    if found.record.finished.is_none() {
        // The kernel ends what an init held; what is left of one that does not answer goes when its successor is made.
        match tokio::time::timeout(PATIENCE, Sandbox::adopt(&node.host, &id)).await {
            Ok(Ok(Some((sandbox, events, alive)))) => {
                let addresses = match pod.host_network {
                    true => Vec::new(),
                    false => node.network.addresses(&id).await,
                };
                found.sandbox = Some(FoundSandbox {
                    init_pid: sandbox.init_pid(),
                    addresses: addresses.clone(),
                });
                adopted = Some(Adopted {
                    sandbox,
                    events,
                    addresses,
                });
                runs = alive;
            }
            Ok(Ok(None)) => {}
            // This process had better not start than end what runs.
            Ok(Err(source)) if is_exhaustion(&source) => {
                return Err(StartError::Adopt {
                    id,
                    source: Box::new(source),
                });
            }
            Ok(Err(error)) => {
                tracing::error!(
                    pod = id,
                    error = chain(&error),
                    "a pod's init does not answer: it is made anew"
                );
            }
            Err(_) => tracing::error!(pod = id, "a pod's init does not answer: it is made anew"),
        }
    }
    let places = Places::of(&pod, &node.directories);
    let looked = tokio::task::spawn_blocking({
        let pod = Arc::clone(&pod);
        move || found_runs(&pod, &places, &runs)
    });
    found.containers = looked.await.unwrap_or_default();
    let machine = Machine::restore(pod, found, clock.now());
    tracing::info!(pod = id, running = adopted.is_some(), "a pod is here again");
    Ok(Some(Recovered { machine, adopted }))
}

/// The pod, from memory where it is there, and what SQLite knows beside it.
fn read(row: PodRow, directories: &super::engine::Directories) -> Result<(Pod, Found), String> {
    let decode = |bytes: &[u8]| {
        let message = auraed_api::schedule::v0::Pod::decode(bytes).map_err(|error| error.to_string())?;
        Pod::try_from(message).map_err(|error| error.to_string())
    };
    let redacted = decode(&row.pod)?;
    let places = Places::of(&redacted, directories);
    let kept = files::read(&places.message()).map_err(|error| error.to_string())?;
    let whole = kept
        .and_then(|bytes| decode(&bytes).ok())
        .filter(|pod| pod.id == redacted.id);
    let record = Record::decode(&row.record).map_err(|error| chain(&error))?;
    let found = Found {
        accepted_at: Timestamp::from_millisecond(row.created_at).map_err(|error| error.to_string())?,
        record,
        stop: row.stop.and_then(|stop| {
            let requested_at = Timestamp::from_millisecond(stop.requested_at).ok()?;
            Some((requested_at, stop.grace_seconds.map(Duration::from_secs)))
        }),
        whole: whole.is_some() || !redacted.holds_secrets(),
        sandbox: None,
        containers: Vec::new(),
    };
    Ok((whole.unwrap_or(redacted), found))
}

/// The logs of pods that nobody knows, by what is in memory of them: other programs may have logs beside them.
async fn unknown_logs(node: &Node, known: &HashSet<String>) -> Vec<PathBuf> {
    let (directories, known) = (node.directories.clone(), known.clone());
    let look = move || {
        let entries = fs_err::read_dir(directories.run.join("pods"))?;
        let logs = entries.flatten().filter_map(|entry| {
            let unknown = entry
                .file_name()
                .to_str()
                .is_none_or(|name| !known.contains(name));
            let bytes = unknown.then(|| files::read(&entry.path().join("pod.pb")))?;
            let message = auraed_api::schedule::v0::Pod::decode(bytes.ok()??.as_slice()).ok()?;
            let pod = Pod::try_from(message).ok()?;
            Some(Places::of(&pod, &directories).logs().to_owned())
        });
        std::io::Result::Ok(logs.collect())
    };
    let looked = tokio::task::spawn_blocking(look).await;
    looked.ok().and_then(Result::ok).unwrap_or_default()
}

/// Removes what pods left that nobody knows: started and never written, or forgotten and not quite gone.
async fn remove_leftovers(node: &Node, known: &HashSet<String>, logs: Vec<PathBuf>) {
    match auraed_sandbox::remove_leftovers(&node.host, known).await {
        Ok(found) => {
            if !found.removed.is_empty() {
                tracing::warn!(pods = ?found.removed, "removed what pods left that nobody knows");
            }
            for id in found.running {
                tracing::warn!(pod = id, "ending a pod that nobody knows");
                // It is not asked: it may not answer, and the daemon would not come to its start.
                if let Err(error) = end_sandbox(&node.host, &id).await {
                    tracing::error!(
                        pod = id,
                        error = chain(&error),
                        "cannot end a pod that nobody knows"
                    );
                }
            }
        }
        Err(error) => tracing::error!(%error, "cannot look for what unknown pods left"),
    }
    let (directories, known) = (node.directories.clone(), known.clone());
    let swept = tokio::task::spawn_blocking(move || {
        for root in [directories.state.join("pods"), directories.run.join("pods")] {
            files::empty(&root, |name| {
                name.to_str().is_some_and(|name| known.contains(name))
            })?;
        }
        for directory in logs {
            files::remove_tree(&directory)?;
        }
        std::io::Result::Ok(())
    });
    if let Ok(Err(error)) = swept.await {
        tracing::error!(%error, "cannot remove the files of unknown pods");
    }
}

/// Who is on the network, and who has an address there although it does not run.
fn tell_network(node: &Node, known: &HashSet<String>, recovered: &[Recovered]) {
    let on_node = |pod: &Pod| pod.host_network.then(|| pod.id.to_string());
    let on_node: HashSet<String> = recovered
        .iter()
        .filter_map(|recovered| on_node(recovered.machine.pod()))
        .collect();
    for id in known.difference(&on_node) {
        node.network.know(id);
    }
    for recovered in recovered {
        let pod = recovered.machine.pod();
        if let Some(adopted) = recovered.adopted.as_ref().filter(|_| !pod.host_network) {
            node.network.adopt(pod.id.as_str(), ports(pod), &adopted.sandbox);
        }
    }
}
