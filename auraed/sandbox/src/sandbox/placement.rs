//! Where a sandbox's cgroup is.
//!
//! A place that the caller chose is written down in the run directory before anything is made there, so that whoever comes
//! after a crash finds it; the record goes when the cgroup is gone. Without a record the cgroup is below the daemon's root,
//! in one of the classes.

use std::io;
use std::path::PathBuf;

use super::launch::{cgroup_error, ignore_missing, step};
use super::{CLASSES, Error};
use crate::Host;
use crate::cgroup::{self, Group, Placement, Record};

const FILE: &str = "cgroup";
const NEW: &str = "cgroup.new";

fn path(host: &Host, id: &str) -> PathBuf {
    host.pod_directory(id).join(FILE)
}

/// Before the cgroup is made. The sandbox's directory is there.
pub(super) fn write_down(host: &Host, id: &str, placement: &Placement) -> Result<(), Error> {
    let Placement::Below(parent) = placement else {
        return Ok(());
    };
    let failed = || cgroup_error("find the place of the cgroup", id);
    let mut record = host.cgroups().record(parent).map_err(failed())?;
    // A start that was cut off may have made the parent.
    if let Some(before) = recorded(host, id)
        && before.parent == record.parent
    {
        record.made = before.made.or(record.made);
    }
    let write = || -> io::Result<()> {
        let new = host.pod_directory(id).join(NEW);
        fs_err::write(&new, serde_json::to_vec(&record)?)?;
        fs_err::rename(new, path(host, id))
    };
    write().map_err(step("write down the place of the cgroup", id))
}

/// What was written down. A record that cannot be read is as good as none: it is whole or it is not there.
pub(super) fn recorded(host: &Host, id: &str) -> Option<Record> {
    let text = fs_err::read(path(host, id)).ok()?;
    match serde_json::from_slice(&text) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::warn!(pod = id, %error, "the place of a pod's cgroup is not known any more");
            None
        }
    }
}

/// The sandbox's cgroup, if it is there.
pub(super) fn find(host: &Host, id: &str) -> Option<Group> {
    let recorded = recorded(host, id).map(|record| Placement::Below(record.parent));
    let places = recorded.into_iter().chain(CLASSES.map(Placement::Qos));
    places
        .filter_map(|place| host.cgroups().pod(place, id).ok())
        .find(Group::exists)
}

/// Kills what is in the sandbox's cgroup and removes it, wherever it is.
pub(super) async fn remove(host: &Host, id: &str) -> Result<(), cgroup::Error> {
    if let Some(record) = recorded(host, id) {
        host.cgroups().remove_recorded(&record, id).await?;
    }
    for class in CLASSES {
        let group = host.cgroups().pod(class, id)?;
        if group.exists() {
            group.remove().await?;
        }
    }
    for file in [FILE, NEW] {
        let file = host.pod_directory(id).join(file);
        if let Err(error) = ignore_missing(fs_err::remove_file(file)) {
            tracing::warn!(pod = id, %error, "the record of a pod's cgroup stays");
        }
    }
    Ok(())
}
