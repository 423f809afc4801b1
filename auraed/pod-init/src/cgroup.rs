//! A container's cgroup as the pod init needs it: join, kill, look for memory kills, remove. Made and limited by the
//! daemon; all paths are the host's.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, open, rmdir};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::file;
use crate::protocol::CgroupDirectory;

/// A process that forks faster than it is killed is killed by its limit of processes, or by patience.
const MAX_ROUNDS: u32 = 100;
/// A container that may make groups of its own has no use for more of them in one another; what is deeper is left to the daemon.
const MAX_DEPTH: u32 = 16;

/// The v2 directory, for a fork straight into it.
pub(crate) fn open_unified(cgroups: &[CgroupDirectory]) -> Result<Option<OwnedFd>, Errno> {
    let Some(unified) = cgroups.iter().find(|cgroup| cgroup.unified) else {
        return Ok(None);
    };
    open(
        &unified.path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map(Some)
}

/// Moves this process into the v1 directories: by its one thread, which the kernel does without the lock that it takes for
/// `cgroup.procs` and that costs up to 16 ms, a grace period of RCU.
pub(crate) fn join(cgroups: &[CgroupDirectory]) -> Result<(), Errno> {
    cgroups
        .iter()
        .filter(|cgroup| !cgroup.unified)
        .try_for_each(|cgroup| file::write(&cgroup.path.join("tasks"), b"0"))
}

/// SIGKILL to every process, also to those that are being forked.
pub(crate) fn kill(cgroups: &[CgroupDirectory]) {
    if let Some(unified) = cgroups.iter().find(|cgroup| cgroup.unified)
        && file::write(&unified.path.join("cgroup.kill"), b"1").is_ok()
    {
        return;
    }
    // Killed processes stay in the list until they are reaped, so that only a changed list is worth another round.
    let mut before = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let processes = processes(cgroups);
        if processes == before {
            break;
        }
        processes.iter().for_each(|pid| signal_one(*pid, Signal::KILL));
        before = processes;
    }
}

/// A signal to every process that is there now.
pub(crate) fn signal(cgroups: &[CgroupDirectory], signal: Signal) {
    processes(cgroups)
        .into_iter()
        .for_each(|pid| signal_one(pid, signal));
}

fn signal_one(pid: Pid, signal: Signal) {
    // It may have ended meanwhile: that was the aim.
    let _ = kill_process(pid, signal);
}

/// Ids as this process sees them; what it cannot see is listed as 0 and is not ours.
fn processes(cgroups: &[CgroupDirectory]) -> Vec<Pid> {
    let Some(first) = cgroups.first() else {
        return Vec::new();
    };
    let list = file::read(&first.path.join("cgroup.procs")).unwrap_or_default();
    list.lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?))
        .collect()
}

/// Whether the kernel killed a process of it for want of memory.
pub(crate) fn oom_killed(cgroups: &[CgroupDirectory]) -> bool {
    cgroups.iter().any(|cgroup| {
        let name = if cgroup.unified {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        file::read(&cgroup.path.join(name)).is_ok_and(|events| counts_kills(&events))
    })
}

fn counts_kills(events: &str) -> bool {
    events
        .lines()
        .filter_map(|line| line.strip_prefix("oom_kill "))
        .any(|count| count.trim() != "0")
}

/// Removes the directories, and those that a container which may has made below; `false` if a process that is not reaped yet
/// keeps one.
pub(crate) fn remove(cgroups: &[CgroupDirectory]) -> bool {
    cgroups.iter().all(|cgroup| remove_tree(&cgroup.path, MAX_DEPTH))
}

fn remove_tree(path: &Path, depth: u32) -> bool {
    match rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => return true,
        Err(Errno::BUSY | Errno::NOTEMPTY) if depth > 0 => {}
        Err(_) => return false,
    }
    let children = children(path);
    !children.is_empty()
        && children.iter().all(|child| remove_tree(child, depth - 1))
        && matches!(rmdir(path), Ok(()) | Err(Errno::NOENT))
}

/// The groups right below one; other entries are the kernel's files.
fn children(path: &Path) -> Vec<PathBuf> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let entries = open(path, flags, Mode::empty()).and_then(Dir::new);
    let directories = entries
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| {
            entry.file_type() == FileType::Directory && !matches!(entry.file_name().to_bytes(), b"." | b"..")
        });
    directories
        .map(|entry| path.join(OsStr::from_bytes(entry.file_name().to_bytes())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_kills_are_read_from_both_versions() {
        assert!(counts_kills(
            "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n"
        ));
        assert!(!counts_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"));
        assert!(!counts_kills(""));
    }

    #[test]
    fn a_directory_that_is_gone_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let cgroup = CgroupDirectory {
            path: directory.path().join("x"),
            ..CgroupDirectory::default()
        };
        std::fs::create_dir(&cgroup.path).unwrap();
        assert!(remove(std::slice::from_ref(&cgroup)));
        assert!(remove(&[cgroup]));
    }

    #[test]
    fn what_is_below_goes_along_as_far_as_it_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let cgroup = CgroupDirectory {
            path: directory.path().join("x"),
            ..CgroupDirectory::default()
        };
        for name in ["", "y", "y/z", "a"] {
            std::fs::create_dir(cgroup.path.join(name)).unwrap();
        }
        // As a process would keep it.
        let busy = cgroup.path.join("y/z/busy");
        std::fs::File::create(&busy).unwrap();
        assert!(!remove(std::slice::from_ref(&cgroup)));
        std::fs::remove_file(busy).unwrap();
        assert!(remove(&[cgroup]));
    }
}
