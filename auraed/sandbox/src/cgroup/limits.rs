//! Limits and how they are written: one controller at a time, on v1 or v2, after all of them were looked at: nonsense
//! changes nothing.

mod check;
mod cpu;
mod files;
mod memory;

use std::path::{Path, PathBuf};

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::pid::PidController;

use super::devices::DeviceRule;
use super::group::{Group, Level};
use super::mounts::Kind;
use super::{Controller, Error};

/// Limits of one group. Absent values are left as they are, which in a new group means unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Relative CPU weight in v1's measure, 2 to 262144 (1024 is one CPU); values outside are brought inside.
    pub cpu_shares: Option<u64>,
    /// CPU time in microseconds per period; brought up to 1000; 0 and negative values mean unlimited.
    pub cpu_quota_us: Option<i64>,
    /// The period in microseconds, 1000 to 1000000; 100000 if absent.
    pub cpu_period_us: Option<u64>,
    /// Memory in bytes, without any swap on top; 0 means unlimited.
    pub memory_bytes: Option<u64>,
    /// Number of processes and threads; 0 means unlimited.
    pub pids: Option<u64>,
    /// Kill the whole group when one of its processes is out of memory (v2 only).
    pub oom_group: bool,
    /// Device nodes.
    pub devices: Devices,
    /// CPUs to run on, as `0-2,7`; empty is as if absent.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to allocate from, as `0-1`; empty is as if absent.
    pub cpuset_mems: Option<String>,
    /// Memory and swap together, in bytes; negative means unlimited, 0 is as if absent.
    pub memory_swap_bytes: Option<i64>,
    /// Pages of each size, such as `2MB`: at most so many bytes of them.
    pub huge_pages: Vec<(String, u64)>,
    /// Files of the v2 group and what to write into them, last of all.
    pub unified: Vec<(String, String)>,
    /// A limit whose controller is missing is an error. Else those of CPU, memory and processes are skipped, as
    /// [`Tree::detect`](super::Tree::detect) has told; the others always are an error.
    pub strict: bool,
}

/// Device nodes that the processes of a group may open and make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Devices {
    /// As the parent group.
    #[default]
    Inherit,
    /// The usual ones (null, zero, full, random, urandom, tty, console, ptmx, pts, tun) and mknod of any.
    Standard,
    /// Those, and these.
    StandardAnd(Vec<DeviceRule>),
}

/// Gives a group that is being made its limits. `fresh`: it was not there before.
pub(super) fn create(group: &Group, limits: &Limits, fresh: bool) -> Result<(), Error> {
    check::check(limits)?;
    write_all(group, limits, Moment::Making)?;
    match &limits.devices {
        Devices::Inherit => {}
        Devices::Standard => super::devices::restrict(group, &[], fresh)?,
        Devices::StandardAnd(rules) => super::devices::restrict(group, rules, fresh)?,
    }
    files::write_unified(group, limits)
}

/// Changes a group that may have processes.
pub(super) fn change(group: &Group, limits: &Limits) -> Result<(), Error> {
    check::check(limits)?;
    write_all(group, limits, Moment::Changing)?;
    files::write_unified(group, limits)
}

/// When limits are written: a group that is being made has those of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Making,
    Changing,
}

/// Writes every limit that is present and whose controller is there.
fn write_all(group: &Group, limits: &Limits, moment: Moment) -> Result<(), Error> {
    files::write_cpuset(group, limits)?;
    cpu::write(group, limits)?;
    match group.place(Controller::Memory) {
        Some((kind, directory)) => {
            let leaf = group.level == Level::Leaf;
            memory::write(limits, kind, &directory, moment, leaf)?;
        }
        None if limits.memory_bytes.is_some_and(|bytes| bytes > 0) => {
            limits.without("a memory limit", Controller::Memory)?;
        }
        None => {}
    }
    write_pids(group, limits)?;
    files::write_huge_pages(group, limits)
}

fn write_pids(group: &Group, limits: &Limits) -> Result<(), Error> {
    let Some(pids) = limits.pids else {
        return Ok(());
    };
    let Some((kind, directory)) = group.place(Controller::Pids) else {
        return if pids == 0 {
            Ok(())
        } else {
            limits.without("a limit of processes", Controller::Pids)
        };
    };
    let value = match pids {
        0 => MaxValue::Max,
        pids => MaxValue::Value(i64::try_from(pids).unwrap_or(i64::MAX)),
    };
    PidController::new(directory.clone(), PathBuf::new(), kind == Kind::V2)
        .set_pid_max(value)
        .map_err(refused("pids", &directory, pids))
}

impl Limits {
    /// What becomes of a limit whose controller is missing.
    fn without(&self, limit: &'static str, controller: Controller) -> Result<(), Error> {
        if self.strict {
            Err(Error::Missing { limit, controller })
        } else {
            Ok(())
        }
    }
}

fn refused<E: std::error::Error + Send + Sync + 'static>(
    limit: &'static str,
    directory: &Path,
    value: impl std::fmt::Display,
) -> impl FnOnce(E) -> Error {
    let (path, value) = (directory.to_owned(), value.to_string());
    move |source| Error::Limit {
        limit,
        path,
        value,
        source: Box::new(source),
    }
}

/// The reason of a failed write, for an error that names the limit itself.
fn reason(error: Error) -> std::io::Error {
    match error {
        Error::Io { source, .. } => source,
        other => std::io::Error::other(other),
    }
}
