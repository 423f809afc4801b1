//! What is on disk of a container's runs.

use std::collections::HashMap;
use std::io;

use auraed_sandbox::{ContainerRun, RunState, read_exit_record};
use auraed_types::pod::Container;
use auraed_types::{ContainerId, Pod};
use jiff::Timestamp;

use super::node::Task;
use crate::files;
use crate::schedule::machine::{Exit, FoundContainer, FoundRun, FoundState, Index};
use crate::schedule::places::Places;
use crate::schedule::record::{Marks, RunRecord};
use crate::schedule::termination::{self, Sources};

impl Task {
    /// A run that ended, with the message that it left.
    pub(super) async fn exit(&self, run: ContainerRun) -> Option<Exit> {
        let (pod, places) = (self.pod.clone(), self.places.clone());
        tokio::task::spawn_blocking(move || exit_of(&pod, &places, run))
            .await
            .ok()
            .flatten()
    }

    /// The ends that a lost init recorded, of each container's newest run.
    pub(super) async fn recorded_exits(&self) -> Vec<Exit> {
        let (pod, places) = (self.pod.clone(), self.places.clone());
        let read = move || {
            let newest = |container: &Container| {
                let attempt = attempts(&places, container).pop()?;
                let path = places.attempt(container.name.as_str(), attempt).exit_record();
                exit_of(&pod, &places, read_exit_record(&path).ok()??)
            };
            pod.all_containers().filter_map(newest).collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }
}

/// What was found of every container, in the order of the pod; `alive` is what its init tells, if it lives.
pub(crate) fn found_runs(pod: &Pod, places: &Places, alive: &[ContainerRun]) -> Vec<FoundContainer> {
    let known = Known {
        alive: alive.iter().map(|run| (run.id.as_str(), run)).collect(),
        marks: marks(places),
    };
    let found = |container: &Container| {
        let mut newest = attempts(places, container);
        newest.drain(..newest.len().saturating_sub(2));
        let run = |attempt| found_run(pod, places, container, attempt, &known);
        FoundContainer {
            runs: newest.into_iter().filter_map(run).collect(),
        }
    };
    pod.all_containers().map(found).collect()
}

/// What is known of runs beside their own files.
struct Known<'a> {
    /// From the pod's init.
    alive: HashMap<&'a str, &'a ContainerRun>,
    /// From the daemon before.
    marks: Marks,
}

/// What cannot be read is asked anew.
fn marks(places: &Places) -> Marks {
    let bytes = files::read(&places.marks()).ok().flatten();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn found_run(
    pod: &Pod,
    places: &Places,
    container: &Container,
    attempt: u32,
    known: &Known<'_>,
) -> Option<FoundRun> {
    let place = places.attempt(container.name.as_str(), attempt);
    let bytes = files::read(&place.run_record()).ok()??;
    let record: RunRecord = match serde_json::from_slice(&bytes) {
        Ok(record) => record,
        Err(error) => {
            // A power loss may leave an empty file: then the run did not survive either.
            tracing::warn!(pod = %pod.id, container = %container.name, attempt, %error, "a run's record is damaged");
            return None;
        }
    };
    let mark = known.marks.get(&record.id);
    let told = known.alive.get(record.id.as_str()).map(|run| (*run).clone());
    let state = match told {
        Some(ContainerRun {
            state: RunState::Running { started_at },
            ..
        }) => {
            let since = Timestamp::try_from(started_at).unwrap_or(record.created_at);
            FoundState::Running {
                since,
                started: mark.map(|mark| mark.started),
                ready: mark.map(|mark| mark.ready),
            }
        }
        told => {
            let ended = told.or_else(|| read_exit_record(&place.exit_record()).ok().flatten());
            let exit = ended
                .and_then(|run| exit_of(pod, places, run))
                .filter(|exit| exit.id == record.id);
            exit.map_or(FoundState::Unknown, FoundState::Ended)
        }
    };
    Some(FoundRun { record, state })
}

/// The runs of a container that have a directory, in order.
fn attempts(places: &Places, container: &Container) -> Vec<u32> {
    let entries = match fs_err::read_dir(places.runs(container.name.as_str())) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(container = %container.name, %error, "cannot look for runs");
            return Vec::new();
        }
    };
    let number = |entry: io::Result<fs_err::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let mut attempts: Vec<u32> = entries.filter_map(number).collect();
    attempts.sort_unstable();
    attempts
}

/// An end as the machine takes it; absent for what is no end, or of a container that the pod does not have.
fn exit_of(pod: &Pod, places: &Places, run: ContainerRun) -> Option<Exit> {
    let RunState::Exited {
        exit_code,
        signal,
        oom_killed,
        started_at,
        finished_at,
        error,
    } = run.state
    else {
        return None;
    };
    let (index, container) = pod
        .all_containers()
        .enumerate()
        .find(|(_, container)| container.name == *run.name.as_str())?;
    let id = ContainerId::new(run.id).ok()?;
    let place = places.attempt(&run.name, run.attempt);
    let own = termination::message(Sources {
        file: &place.termination_message(),
        log: &places.log(&run.name, run.attempt),
        policy: container.termination_message_policy,
        failed: exit_code != 0 && error.is_none(),
    });
    let start_failed = error.is_some();
    let message = match error {
        Some(error) if own.is_empty() => error,
        Some(error) => format!("{error}: {own}"),
        None => own,
    };
    Some(Exit {
        container: Index(index),
        attempt: run.attempt,
        id,
        exit_code,
        signal,
        oom_killed,
        start_failed,
        started_at: Timestamp::try_from(started_at).ok()?,
        finished_at: Timestamp::try_from(finished_at).ok()?,
        message,
    })
}
