//! What the engine writes so that a crash loses nothing: beside the pod in SQLite, and one small file a run.
//!
//! Both are JSON with a version. Fields are only ever added, with a default; golden files in `record/` hold every version.

use std::collections::BTreeMap;
use std::time::Duration;

use auraed_types::{ContainerId, PodStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Beside the pod in SQLite. What can be told from the pod inits and the exit records is not here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// Of this format: 1.
    pub(crate) version: u32,
    /// Counts the sandboxes of the pod.
    pub(crate) sandbox_attempt: u32,
    /// A decision that the containers' exits do not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<RecordedEnd>,
    /// The last status of a pod of which nothing runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<PodStatus>,
    /// It is being removed.
    pub(crate) removing: bool,
}

/// Why a pod ends, other than by its containers or its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RecordedEnd {
    /// Its active deadline was over.
    Deadline,
}

/// Beside the exit record of a run, as `run.json`: written before the container is started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// Of this format: 1.
    pub(crate) version: u32,
    /// Counts the runs of the container.
    pub(crate) attempt: u32,
    /// The run's id.
    pub(crate) id: ContainerId,
    /// In which sandbox of the pod it runs.
    pub(crate) sandbox: u32,
    /// The image's id.
    pub(crate) image: String,
    /// The image as the status shows it.
    pub(crate) image_shown: String,
    /// What asks it to end.
    pub(crate) stop_signal: i32,
    /// What the next restart waits for.
    pub(crate) restart_delay_seconds: u64,
    /// When the start was asked for.
    pub(crate) created_at: Timestamp,
}

/// What probes have found of the runs that go on, in memory beside the pod: a new daemon believes it until it has asked
/// them itself. By the runs' ids.
pub(crate) type Marks = BTreeMap<ContainerId, Mark>;

/// What probes have found of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// It has started.
    pub(crate) started: bool,
    /// It can serve.
    pub(crate) ready: bool,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// It is damaged.
    #[error("the record is damaged")]
    Damaged(#[from] serde_json::Error),
    /// A later version of the daemon wrote it.
    #[error("the record has version {0}, this auraed knows up to 1")]
    TooNew(u32),
}

impl Default for Record {
    fn default() -> Record {
        Record {
            version: 1,
            sandbox_attempt: 0,
            end: None,
            finished: None,
            removing: false,
        }
    }
}

impl Record {
    /// Reads what [`Record::encode`] wrote; nothing at all is the record of a pod that has just been accepted.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        if bytes.is_empty() {
            return Ok(Record::default());
        }
        let record: Record = serde_json::from_slice(bytes)?;
        if record.version > 1 {
            return Err(RecordError::TooNew(record.version));
        }
        Ok(record)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has string keys and finite numbers")
    }
}

impl RunRecord {
    pub(crate) fn restart_delay(&self) -> Duration {
        Duration::from_secs(self.restart_delay_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1 wrote: later ones must read it, and this one must still write it.
    const RECORD_1: &str = include_str!("record/pod-1.json");
    const RUN_1: &str = include_str!("record/run-1.json");

    #[test]
    fn records_of_version_1_are_read_and_written() {
        let record = Record::decode(RECORD_1.as_bytes()).unwrap();
        assert_eq!(
            (record.sandbox_attempt, record.end, record.removing),
            (2, Some(RecordedEnd::Deadline), true)
        );
        let finished = record.finished.as_ref().unwrap();
        assert_eq!(finished.containers[0].restart_count, 3);
        let written: serde_json::Value = serde_json::from_slice(&record.encode()).unwrap();
        assert_eq!(
            written,
            serde_json::from_str::<serde_json::Value>(RECORD_1).unwrap()
        );

        let run: RunRecord = serde_json::from_str(RUN_1).unwrap();
        assert_eq!((run.attempt, run.restart_delay().as_secs()), (3, 40));
        let written = serde_json::to_value(&run).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(RUN_1).unwrap());
    }

    #[test]
    fn no_record_is_that_of_a_new_pod_and_others_are_refused() {
        assert_eq!(Record::decode(b"").unwrap(), Record::default());
        assert_eq!(
            Record::decode(br#"{"version":1,"later":true}"#).unwrap(),
            Record::default()
        );
        assert!(matches!(
            Record::decode(br#"{"version":2}"#),
            Err(RecordError::TooNew(2))
        ));
        assert!(matches!(Record::decode(b"{"), Err(RecordError::Damaged(_))));
    }
}
