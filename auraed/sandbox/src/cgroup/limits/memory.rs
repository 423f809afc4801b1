//! Memory and swap.
//!
//! v1 counts memory and swap together in a second counter, which may never be below the first, so that the order of two
//! writes matters; v2 counts swap alone.

use std::path::{Path, PathBuf};

use cgroups_rs::fs::memory::MemController;

use super::super::Error;
use super::super::files::{errno, read, write as write_file};
use super::super::mounts::Kind;
use super::{Limits, Moment, reason, refused};

const V1_BOTH: &str = "memory.memsw.limit_in_bytes";
const V2_SWAP: &str = "memory.swap.max";
/// v1 has no other word for "unlimited" than the largest number of whole pages.
const UNLIMITED: i64 = 1 << 62;

/// `leaf`: for processes, which have no swap unless somebody says so.
pub(super) fn write(
    limits: &Limits,
    kind: Kind,
    directory: &Path,
    moment: Moment,
    leaf: bool,
) -> Result<(), Error> {
    let wanted = Wanted::of(limits);
    match kind {
        Kind::V1 => write_v1(directory, wanted, moment)?,
        Kind::V2 => write_v2(directory, wanted, moment, leaf)?,
    }
    if limits.oom_group && kind == Kind::V2 {
        write_file(&directory.join("memory.oom.group"), "1")?;
    }
    Ok(())
}

/// In bytes; -1 is unlimited.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    memory: Option<i64>,
    both: Option<i64>,
}

impl Wanted {
    fn of(limits: &Limits) -> Self {
        let memory = limits.memory_bytes.map(|bytes| match bytes {
            0 => -1,
            bytes => i64::try_from(bytes).unwrap_or(i64::MAX),
        });
        let both = limits.memory_swap_bytes.filter(|bytes| *bytes != 0);
        Self {
            memory,
            both: both.map(|bytes| bytes.max(-1)),
        }
    }
}

fn write_v1(directory: &Path, wanted: Wanted, moment: Moment) -> Result<(), Error> {
    let controller = MemController::new(directory.to_owned(), PathBuf::new(), false);
    let set_memory = |bytes: i64| {
        controller
            .set_limit(bytes)
            .map_err(refused("memory", directory, shown(bytes)))
    };
    let Some(present) = number(directory, V1_BOTH) else {
        warn_of_swap(directory, wanted);
        return wanted.memory.map_or(Ok(()), set_memory);
    };
    let memory = number(directory, "memory.limit_in_bytes").unwrap_or(i64::MAX);
    if let (None, Some(both)) = (wanted.memory, wanted.both) {
        not_less(both, memory)?;
    }
    // Who speaks of memory alone means that there is no swap on top; what somebody allowed before stays.
    let no_swap = moment == Moment::Making || present == memory;
    let both = wanted.both.or_else(|| {
        let bytes = wanted.memory?;
        (no_swap || bytes < 0 || bytes > present).then_some(bytes)
    });
    let set_both = |bytes: i64| {
        let result = write_file(&directory.join(V1_BOTH), &bytes.to_string());
        result.map_err(|error| refused("memory and swap", directory, shown(bytes))(reason(error)))
    };
    match (wanted.memory, both) {
        (None, None) => Ok(()),
        (Some(bytes), None) => set_memory(bytes),
        (None, Some(bytes)) => set_both(bytes),
        (Some(bytes), Some(both)) if both < 0 || memory < both => {
            set_both(both).and_then(|()| set_memory(bytes))
        }
        (Some(bytes), Some(both)) => set_memory(bytes).and_then(|()| set_both(both)),
    }
}

fn write_v2(directory: &Path, wanted: Wanted, moment: Moment, leaf: bool) -> Result<(), Error> {
    let swap = match wanted.both {
        Some(-1) => Some(-1),
        Some(both) => {
            let memory = wanted
                .memory
                .or_else(|| number(directory, "memory.max"))
                .unwrap_or(-1);
            not_less(both, memory)?;
            Some(both - memory)
        }
        None if leaf && moment == Moment::Making => Some(0),
        None => None,
    };
    if let Some(bytes) = wanted.memory {
        MemController::new(directory.to_owned(), PathBuf::new(), true)
            .set_limit(bytes)
            .map_err(refused("memory", directory, shown(bytes)))?;
    }
    let Some(swap) = swap else {
        return Ok(());
    };
    let value = if swap < 0 {
        "max".to_owned()
    } else {
        swap.to_string()
    };
    match write_file(&directory.join(V2_SWAP), &value) {
        // The kernel has no swap.
        Err(error) if errno(&error) == Some(libc::ENOENT) => {
            warn_of_swap(directory, wanted);
            Ok(())
        }
        result => result.map_err(|error| refused("swap", directory, value)(reason(error))),
    }
}

fn not_less(both: i64, memory: i64) -> Result<(), Error> {
    if both >= 0 && (memory < 0 || both < memory) {
        return Err(Error::Invalid(format!(
            "memory and swap together ({both} bytes) are less than memory ({})",
            shown(memory)
        )));
    }
    Ok(())
}

/// Only who wanted some swap misses anything.
fn warn_of_swap(directory: &Path, wanted: Wanted) {
    if wanted.both.is_some() && wanted.both != wanted.memory {
        tracing::warn!(
            ?directory,
            "swap is not limited: this kernel does not account for it"
        );
    }
}

fn shown(bytes: i64) -> String {
    if !(0..UNLIMITED).contains(&bytes) {
        "unlimited".to_owned()
    } else {
        format!("{bytes} bytes")
    }
}

/// `max` is -1; none if there is no such file.
fn number(directory: &Path, file: &str) -> Option<i64> {
    let text = read(&directory.join(file)).ok()?;
    match text.trim() {
        "max" => Some(-1),
        number => number.parse().ok(),
    }
}
