//! Plugins that outlived the daemon that ran them: they must not go on with an ADD that is being taken back.
//!
//! While a plugin works for an attachment, a file beside the record says which process it is. A killed daemon leaves the
//! file, and the next one kills what it names before it touches a record. The process is told from a later one of the same
//! number by the time of its start, and the boot.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// What such files end with.
pub(crate) const EXTENSION: &str = "running";

/// A killed process is gone at once, but for one that waits for a device.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says that a process works, until it is dropped.
pub(crate) struct Mark(PathBuf);

impl Mark {
    /// Without it, nothing is lost but this care.
    pub(crate) fn set(path: PathBuf, process: Pid) -> Option<Mark> {
        let content = identity(process)?;
        match fs_err::write(&path, content) {
            Ok(()) => Some(Mark(path)),
            Err(error) => {
                tracing::debug!(%error, "a network plugin runs unmarked");
                None
            }
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // One that stays names a process that is gone.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Ends the process group that a file names, if it is still that one, and removes the file.
pub(crate) fn end(path: &Path) -> io::Result<()> {
    let content = fs_err::read_to_string(path)?;
    let number = content.split(' ').next().and_then(|number| number.parse().ok());
    if let Some(process) = number.and_then(Pid::from_raw)
        // From here on the number stays this process's, or is nobody's.
        && let Ok(handle) = pidfd_open(process, PidfdFlags::empty())
        && identity(process).is_some_and(|found| found == content)
    {
        tracing::warn!(
            pid = process.as_raw_nonzero(),
            "killing a network plugin that outlived the daemon that ran it"
        );
        // Gone meanwhile is as good.
        let _ = kill_process_group(process, Signal::KILL);
        let patience = Timespec {
            tv_sec: PATIENCE.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&patience))?;
    }
    fs_err::remove_file(path)
}

/// Its number, when it was started, and in which boot; none if it is gone.
fn identity(process: Pid) -> Option<String> {
    let number = process.as_raw_nonzero();
    let stat = fs_err::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // proc_pid_stat(5): the time is the 22nd field; the second, in parentheses, may hold anything.
    let start = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{number} {start} {}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::Command;

    use super::*;

    #[test]
    fn only_the_very_process_is_ended() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.running");
        let mut child = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .unwrap();
        let process = Pid::from_child(&child);
        let mark = Mark::set(path.clone(), process).unwrap();
        let content = fs_err::read_to_string(&path).unwrap();
        drop(mark);
        assert!(!path.exists());

        for other in [
            content.replacen(' ', " 1", 1),
            format!("{content}x"),
            "x".to_owned(),
            String::new(),
        ] {
            fs_err::write(&path, other).unwrap();
            end(&path).unwrap();
            assert!(!path.exists() && child.try_wait().unwrap().is_none());
        }
        fs_err::write(&path, content).unwrap();
        end(&path).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert!(!path.exists());
    }
}
