//! One start of a container.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use auraed_image::Image;
use auraed_sandbox::{ContainerSpec, Error, RunState, StartError};
use auraed_types::{ContainerId, Pod};
use jiff::Timestamp;

use super::node::Task;
use crate::files;
use crate::lowest;
use crate::schedule::machine::{Input, Start, StartFailure};
use crate::schedule::places::{Attempt, Places};
use crate::schedule::record::RunRecord;
use crate::schedule::spec;
use crate::server::chain;

impl Task {
    pub(super) async fn start_container(self, start: Start) {
        let (container, attempt) = (start.container, start.attempt);
        self.tell(match self.start(&start).await {
            Ok((id, started_at, detail)) => Input::Started {
                container,
                attempt,
                id,
                started_at,
                detail,
            },
            Err(failure) => Input::StartFailed {
                container,
                attempt,
                failure,
            },
        });
    }

    async fn start(&self, start: &Start) -> Result<(ContainerId, Timestamp, String), StartFailure> {
        let name = self.container(start.container).name.clone();
        let sandbox = self.cell.sandbox().ok_or(StartFailure::SandboxGone)?;
        let image = self.node.images.used(&start.image.id).ok_or_else(|| {
            StartFailure::Create(format!("image {} is not on the node any more", start.image.id))
        })?;
        let id = new_id().map_err(|error| StartFailure::Create(error.to_string()))?;
        let volumes = self.places.volume_sources(&self.pod, &sandbox);
        let spec = self.container_spec(start, &id, &image, volumes)?;
        let begun = Instant::now();
        self.make_places(start, &id).await?;
        let files = begun.elapsed();
        match sandbox.start_container(spec).await {
            Ok(run) => {
                let (RunState::Running { started_at } | RunState::Exited { started_at, .. }) = run.state;
                self.remove_old_runs(name.to_string(), start.attempt);
                let started_at = Timestamp::try_from(started_at).unwrap_or_else(|_| Timestamp::now());
                let init = begun.elapsed() - files;
                let detail = format!("files {} µs, init {} µs", files.as_micros(), init.as_micros());
                Ok((id, started_at, detail))
            }
            Err(StartError::Refused(message)) => Err(StartFailure::Run { id, message }),
            Err(StartError::Sandbox(Error::Gone)) => Err(StartFailure::SandboxGone),
            Err(error) => Err(StartFailure::Create(chain(&error))),
        }
    }

    fn container_spec(
        &self,
        start: &Start,
        id: &ContainerId,
        image: &Arc<Image>,
        volumes: std::collections::BTreeMap<auraed_types::VolumeName, std::path::PathBuf>,
    ) -> Result<ContainerSpec, StartFailure> {
        let container = self.container(start.container);
        let place = self.places.attempt(container.name.as_str(), start.attempt);
        let places = spec::Places {
            lowers: lowest::layers(&self.node.images, image, &self.node.directories.state),
            upper: place.upper(),
            work: place.work(),
            exit: place.exit_record(),
            log: self.places.log(container.name.as_str(), start.attempt),
            termination_message: place.termination_message(),
            etc: self.places.etc_files(),
            volumes,
        };
        spec::container(&spec::Facts {
            pod: &self.pod,
            container,
            attempt: start.attempt,
            id,
            image: &image.config,
            addresses: &self.cell.addresses(),
            node_memory_bytes: self.node.memory_bytes,
            places: &places,
        })
    }

    async fn make_places(&self, start: &Start, id: &ContainerId) -> Result<(), StartFailure> {
        let place = self
            .places
            .attempt(self.container(start.container).name.as_str(), start.attempt);
        let record = RunRecord {
            version: 1,
            attempt: start.attempt,
            id: id.clone(),
            sandbox: start.sandbox,
            image: start.image.id.clone(),
            image_shown: start.image.shown.clone(),
            stop_signal: start.image.stop_signal,
            restart_delay_seconds: start.restart_delay.as_secs(),
            created_at: Timestamp::now(),
        };
        let made = tokio::task::spawn_blocking(move || make_places(&place, &record)).await;
        let failed = |error: &dyn std::fmt::Display| {
            StartFailure::Create(format!("cannot make the run's files: {error}"))
        };
        made.map_err(|panicked| failed(&panicked))?
            .map_err(|error| failed(&error))
    }

    /// Keeps the newest run and the one before it, with its log.
    fn remove_old_runs(&self, container: String, attempt: u32) {
        let Some(oldest_kept) = attempt.checked_sub(1).filter(|oldest| *oldest > 0) else {
            return;
        };
        let (pod, places) = (self.pod.clone(), self.places.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = remove_old_runs(&places, &container, oldest_kept) {
                tracing::warn!(pod = %pod.id, container, %error, "old runs of a container stay on the disk");
            }
        });
    }
}

impl Task {
    pub(super) fn container(&self, index: crate::schedule::machine::Index) -> &auraed_types::pod::Container {
        container_of(&self.pod, index.0)
    }
}

/// The machine names only containers that its pod has.
fn container_of(pod: &Pod, place: usize) -> &auraed_types::pod::Container {
    match place.checked_sub(pod.init_containers.len()) {
        None => &pod.init_containers[place],
        Some(place) => &pod.containers[place],
    }
}

/// 64 hexadecimal digits that nobody can guess.
fn new_id() -> io::Result<ContainerId> {
    use std::fmt::Write as _;
    let mut bytes = [0u8; 32];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if got != bytes.len() {
        return Err(io::Error::other("the kernel gave too few random bytes"));
    }
    let mut text = String::with_capacity(64);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    ContainerId::new(text).map_err(io::Error::other)
}

fn make_places(place: &Attempt, record: &RunRecord) -> io::Result<()> {
    // What is there is of a start that was cut off: overlay wants new directories.
    files::remove_tree(place.path())?;
    files::make_private(place.path())?;
    files::replace(&place.termination_message(), b"", 0o666)?;
    let record = serde_json::to_vec(record).map_err(io::Error::other)?;
    files::replace(&place.run_record(), &record, 0o600)
}

fn remove_old_runs(places: &Places, container: &str, oldest_kept: u32) -> io::Result<()> {
    for entry in fs_err::read_dir(places.runs(container))? {
        let entry = entry?;
        let number: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if number.is_some_and(|number| number < oldest_kept) {
            files::remove_tree(&entry.path())?;
        }
    }
    remove_old_logs(places, container, oldest_kept)
}

/// A log and its rotated files begin with the run's number.
fn remove_old_logs(places: &Places, container: &str, oldest_kept: u32) -> io::Result<()> {
    let directory = places.logs().join(container);
    for entry in fs_err::read_dir(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.split('.').next()?.parse::<u32>().ok());
        if number.is_some_and(|number| number < oldest_kept) {
            let path: &Path = &entry.path();
            fs_err::remove_file(path)?;
        }
    }
    Ok(())
}
