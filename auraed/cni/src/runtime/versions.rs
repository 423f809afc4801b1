//! Which version a network is used with: plugins are asked for theirs where the configuration leaves a choice.

use std::collections::{BTreeSet, HashMap};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tokio::time::Instant;

use super::{Inner, SHORT};
use crate::error::chain;
use crate::plugin::Call;
use crate::{Attachment, Error, NetworkConfig, PluginConfig, ResultError, Verb, Version};

/// What programs said of their versions, until they change.
#[derive(Debug, Default)]
pub(super) struct Spoken(Mutex<HashMap<PathBuf, (Stamp, Vec<Version>)>>);

/// Another program has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64, u64, u64, i64, i64);

impl Inner {
    /// The highest version of the configuration that all of its plugins speak; the highest of all where that cannot be
    /// found out, so that the plugin itself says what is wrong.
    pub(super) async fn version(&self, config: &NetworkConfig) -> Version {
        let highest = config.versions().last().copied().unwrap_or(Version::NEWEST);
        if config.versions().len() < 2 {
            return highest;
        }
        let kinds: BTreeSet<&str> = config.plugins().iter().map(PluginConfig::kind).collect();
        let mut spoken = config.versions().clone();
        for kind in kinds {
            match self.spoken(kind).await {
                Ok(own) => spoken.retain(|version| own.contains(version)),
                Err(error) => {
                    tracing::debug!(
                        error = chain(&error),
                        "a network plugin does not tell its versions"
                    )
                }
            }
        }
        spoken.last().copied().unwrap_or(highest)
    }

    /// What one plugin says.
    async fn spoken(&self, kind: &str) -> Result<Vec<Version>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            #[serde(default)]
            supported_versions: Vec<String>,
        }
        let program = self.programs.find(kind)?;
        let stamp = std::fs::metadata(&program).ok().as_ref().map(Stamp::of);
        if let Some(known) = stamp.and_then(|stamp| self.spoken.get(&program, stamp)) {
            return Ok(known);
        }
        // Old plugins want to see a container, whatever they are asked.
        let dummy = Attachment {
            id: "dummy".to_owned(),
            interface: "dummy".to_owned(),
            namespace: "dummy".to_owned(),
            ..Attachment::default()
        };
        let input = format!(r#"{{"cniVersion":"{}"}}"#, Version::NEWEST);
        let call = Call {
            plugin: kind,
            verb: Verb::Version,
            attachment: Some(&dummy),
            input: input.as_bytes(),
            deadline: Instant::now() + SHORT,
            mark: None,
        };
        let output = self.programs.call(call).await?;
        let answer: Answer = serde_json::from_slice(&output).map_err(|source| Error::Answer {
            plugin: kind.to_owned(),
            verb: Verb::Version,
            source: ResultError::Json(source),
        })?;
        let versions: Vec<Version> = answer
            .supported_versions
            .iter()
            .filter_map(|version| version.parse().ok())
            .collect();
        if let Some(stamp) = stamp {
            self.spoken.put(program, stamp, &versions);
        }
        Ok(versions)
    }
}

impl Spoken {
    fn get(&self, program: &Path, stamp: Stamp) -> Option<Vec<Version>> {
        let known = self.lock();
        let (of, versions) = known.get(program)?;
        (*of == stamp).then(|| versions.clone())
    }

    fn put(&self, program: PathBuf, stamp: Stamp, versions: &[Version]) {
        self.lock().insert(program, (stamp, versions.to_vec()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, (Stamp, Vec<Version>)>> {
        // The holder inserts a whole entry.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stamp {
    fn of(found: &Metadata) -> Stamp {
        Stamp(
            found.dev(),
            found.ino(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
        )
    }
}
