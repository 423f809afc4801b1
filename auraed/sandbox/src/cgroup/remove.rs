//! The end of a group: kill, wait until the kernel says that it is empty, remove.
//!
//! ```text
//!  v2, hybrid   cgroup.kill ──► poll(cgroup.events) until "populated 0" ──► rmdir, deepest first, in each hierarchy
//!  v1           freeze, SIGKILL each, thaw ──► poll(pidfd of each) ──► rmdir; again while it is busy
//! ```

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::files::{children, is_gone, write};
use super::group::Group;
use super::mounts::Kind;
use super::{Controller, Error, io_error};
use crate::sys;

/// Killed processes may hang in the kernel (dead network file systems); a caller should hear of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// v1 has nothing to wait for between a process's last notice and its group's being empty; that gap is microseconds.
const GAP: Duration = Duration::from_millis(1);

impl Group {
    /// Kills every process in the group and below it, at once and without escape; does not wait for their end.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn kill(&self) -> Result<(), Error> {
        if let Some(directory) = self.unified() {
            match write(&directory.join("cgroup.kill"), "1") {
                // The kernel is older than 5.14, or the group is gone.
                Err(Error::Io { source, .. }) if is_gone(&source) => {}
                result => return result,
            }
        }
        if !self.exists() {
            return Ok(());
        }
        // Frozen, none of them can fork away; the signal waits until they are thawed (v1) or passes the freezer (v2).
        self.freeze(true)?;
        let killed = self
            .processes()
            .map(|processes| processes.into_iter().for_each(|pid| drop(kill(pid))));
        self.freeze(false).and(killed)
    }

    /// Kills what is left in the group, waits for its end and removes it with everything below. Succeeds if it is gone.
    ///
    /// # Errors
    /// [`Error::Busy`] after ten seconds, [`Error::Io`].
    pub async fn remove(&self) -> Result<(), Error> {
        match timeout(PATIENCE, self.remove_when_empty()).await {
            Ok(result) => result,
            Err(_) => Err(Error::Busy {
                path: self.path.clone(),
                seconds: PATIENCE.as_secs(),
            }),
        }
    }

    async fn remove_when_empty(&self) -> Result<(), Error> {
        if self.remove_directories()? {
            return Ok(());
        }
        loop {
            self.kill()?;
            self.wait_until_empty().await?;
            if self.remove_directories()? {
                return Ok(());
            }
            // Someone is in a v1 group but not in the v2 one, or it is v1's gap.
            self.wait_for_processes().await?;
            if self.remove_directories()? {
                return Ok(());
            }
            tokio::time::sleep(GAP).await;
        }
    }

    async fn wait_until_empty(&self) -> Result<(), Error> {
        match self.unified() {
            Some(directory) => wait_until_unpopulated(&directory.join("cgroup.events")).await,
            None => self.wait_for_processes().await,
        }
    }

    // Those that a signal from outside of the group has not reached get another one.
    async fn wait_for_processes(&self) -> Result<(), Error> {
        for pid in self.processes()? {
            if let Some(process) = kill(pid) {
                let process = sys::watch(process, Interest::READABLE);
                let process = process.map_err(io_error("wait for processes of", &self.path))?;
                let _guard = process
                    .readable()
                    .await
                    .map_err(io_error("wait for processes of", &self.path))?;
            }
        }
        Ok(())
    }

    // False: some are still busy.
    fn remove_directories(&self) -> Result<bool, Error> {
        for (_, directory) in self.directories() {
            if !remove_directory(&directory)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn unified(&self) -> Option<PathBuf> {
        let (kind, directory) = self.place(Controller::Freezer)?;
        (kind == Kind::V2).then_some(directory)
    }
}

/// Removes a group and those below it in one hierarchy. False: it is busy.
fn remove_directory(directory: &Path) -> Result<bool, Error> {
    match rustix::fs::rmdir(directory) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::BUSY | Errno::NOTEMPTY) => {}
        Err(error) => return Err(io_error("remove", directory)(error)),
    }
    let children = children(directory);
    if children.is_empty() {
        return Ok(false);
    }
    for child in children {
        if !remove_directory(&child)? {
            return Ok(false);
        }
    }
    match rustix::fs::rmdir(directory) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(false),
        Err(error) => Err(io_error("remove", directory)(error)),
    }
}

// The kernel wakes pollers of cgroup.events with POLLPRI at each change since their last read.
async fn wait_until_unpopulated(events: &Path) -> Result<(), Error> {
    let file = match std::fs::File::open(events) {
        Err(error) if is_gone(&error) => return Ok(()),
        file => file.map_err(io_error("open", events))?,
    };
    let file = sys::watch(file.into(), Interest::PRIORITY).map_err(io_error("watch", events))?;
    loop {
        if !is_populated(&file, events)? {
            return Ok(());
        }
        let mut ready = file
            .ready(Interest::PRIORITY)
            .await
            .map_err(io_error("watch", events))?;
        ready.clear_ready();
    }
}

fn is_populated(file: &AsyncFd<OwnedFd>, path: &Path) -> Result<bool, Error> {
    let mut buffer = [0_u8; 256];
    match rustix::io::pread(file.get_ref(), &mut buffer, 0) {
        Ok(length) => Ok(buffer[..length]
            .split(|&byte| byte == b'\n')
            .any(|line| line == b"populated 1")),
        Err(Errno::NODEV) => Ok(false),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Sends SIGKILL through a descriptor of the process, so that a reused id is not hit after this call. None: it is gone.
fn kill(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
    rustix::process::pidfd_send_signal(&process, Signal::KILL).ok()?;
    Some(process)
}
