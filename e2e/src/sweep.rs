//! Removes what a run left: its processes, cgroups, mounts and files. Called by the guard at the end of every run, and
//! for runs whose guard was killed. Goes on after each failure: the next sweep finds what is left.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::{home, process};

/// What the names of the suite's cgroups begin with.
pub const CGROUP_PREFIX: &str = "aurae-e2e-";
/// The file that marks a run whose logs are to be kept.
pub const FAILED: &str = "failed";

/// Removes everything of the run in `directory`.
pub fn run(directory: &Path) {
    let Some(name) = directory.file_name().and_then(|name| name.to_str()) else {
        return;
    };
    let name = format!("{CGROUP_PREFIX}{name}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        // Anew each time: what ends last may have begun something.
        let processes = processes(directory, &cgroups(&name));
        if processes.is_empty() {
            break;
        }
        for pid in processes {
            // It may have ended since.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    unmount_below(directory);
    // The deepest first: a cgroup with children cannot be removed.
    for cgroup in cgroups(&name).iter().rev() {
        let _ = fs_err::remove_dir(cgroup);
    }
    if directory.join(FAILED).exists() {
        keep(directory);
    }
    let _ = fs_err::remove_dir_all(directory);
}

/// Where the logs of a failed run are kept.
pub fn kept(directory: &Path) -> PathBuf {
    home::cache()
        .join("e2e/failed")
        .join(directory.file_name().unwrap_or_default())
}

/// Kills every process in the cgroups of a run or node.
pub fn kill(prefix: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = members(&cgroups(prefix));
        if found.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in found {
            // It may have ended since.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn keep(directory: &Path) {
    let target = kept(directory);
    let _ = fs_err::remove_dir_all(&target);
    let _ = fs_err::create_dir_all(&target);
    copy(&directory.join("log"), &target);
}

fn copy(from: &Path, to: &Path) {
    let Ok(entries) = fs_err::read_dir(from) else {
        return;
    };
    for entry in entries.flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            let _ = fs_err::create_dir_all(&target);
            copy(&entry.path(), &target);
        } else {
            let _ = fs_err::copy(entry.path(), &target);
        }
    }
}

/// Whether a process runs: neither gone nor waiting to be reaped.
pub fn alive(pid: u32) -> bool {
    fs_err::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
    })
}

/// Whether a guard still waits for this run.
pub fn guarded(directory: &Path) -> bool {
    numbers("/proc").any(|pid| {
        fs_err::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            words.get(1) == Some(&b"guard".as_slice())
                && words.get(2) == Some(&directory.as_os_str().as_bytes())
        })
    })
}

/// Whether a cgroup has this name, or one that goes on after a hyphen: of a run and of its nodes, but not of the run
/// whose number merely begins alike.
fn belongs(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Every directory of the run's or node's cgroups, in every hierarchy, parents before children.
pub fn cgroups(prefix: &str) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    let hierarchies = directories(Path::new("/sys/fs/cgroup"));
    for parent in hierarchies
        .iter()
        .map(PathBuf::as_path)
        .chain([Path::new("/sys/fs/cgroup")])
    {
        for top in directories(parent) {
            if top
                .file_name()
                .is_some_and(|name| belongs(&name.to_string_lossy(), prefix))
            {
                collect(&top, &mut found);
            }
        }
    }
    found.into_iter().collect()
}

/// Makes a directory in every hierarchy, which a kubelet wants its root to be.
///
/// # Errors
/// One cannot be made.
pub fn make_cgroups(root: &str) -> anyhow::Result<()> {
    for entry in fs_err::read_dir("/sys/fs/cgroup")? {
        let hierarchy = entry?.path();
        if hierarchy.join("cgroup.procs").exists() {
            fs_err::create_dir_all(hierarchy.join(root))?;
            // A new cpuset is empty, and nothing can join it.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(all) = fs_err::read_to_string(hierarchy.join(file)) {
                    fs_err::write(hierarchy.join(root).join(file), all)?;
                }
            }
        }
    }
    Ok(())
}

fn collect(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    found.insert(directory.to_owned());
    for child in directories(directory) {
        collect(&child, found);
    }
}

fn directories(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(parent) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn numbers(directory: &str) -> impl Iterator<Item = u32> {
    let entries = fs_err::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Processes in the run's cgroups, or marked with its directory.
fn processes(directory: &Path, cgroups: &[PathBuf]) -> Vec<Pid> {
    let mut mark = process::MARK.as_bytes().to_vec();
    mark.push(b'=');
    mark.extend_from_slice(directory.as_os_str().as_bytes());
    let marked = numbers("/proc")
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            fs_err::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|list| list.split(|byte| *byte == 0).any(|entry| entry == mark))
        });
    let mut found = living(marked);
    found.extend(members(cgroups));
    found
}

/// Living processes in these cgroups.
fn members(cgroups: &[PathBuf]) -> Vec<Pid> {
    let lists = cgroups
        .iter()
        .map(|cgroup| fs_err::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default());
    let found: BTreeSet<u32> = lists
        .flat_map(|list| {
            list.lines()
                .filter_map(|line| line.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect();
    living(found)
}

fn living(pids: impl IntoIterator<Item = u32>) -> Vec<Pid> {
    pids.into_iter()
        .filter(|pid| alive(*pid))
        .filter_map(|pid| Pid::from_raw(pid.try_into().ok()?))
        .collect()
}

fn unmount_below(directory: &Path) {
    let table = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| Path::new(point).starts_with(directory))
        .collect();
    for point in points.iter().rev() {
        let _ = unmount(*point, UnmountFlags::DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_not_the_one_whose_number_begins_alike() {
        assert!(belongs("aurae-e2e-it-123", "aurae-e2e-it-123"));
        assert!(belongs("aurae-e2e-it-123-shared", "aurae-e2e-it-123"));
        assert!(!belongs("aurae-e2e-it-1234-shared", "aurae-e2e-it-123"));
        assert!(belongs(
            "aurae-e2e-it-123-shared-kubelet",
            "aurae-e2e-it-123-shared"
        ));
    }
}
