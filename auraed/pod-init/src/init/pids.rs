//! Whose process ids a container sees, and how processes of other PID namespaces are known.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Init;
use super::container::Slot;
use super::pause::Pause;
use crate::fault::{Blame, Fault, Result};
use crate::file;
use crate::protocol::{Container, PidMode, Pids};

/// The PID namespace of a new container.
pub(super) enum Namespace {
    /// Its own: all of it ends with its main process.
    Own,
    /// The one that this process (a pidfd) is in.
    Of(OwnedFd),
    /// The pod init's, which is the host's.
    Same,
}

impl Namespace {
    /// A process of the namespace, if it is to be joined.
    pub(super) fn to_join(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Of(process) => Some(process.as_fd()),
            Self::Own | Self::Same => None,
        }
    }

    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Own)
    }
}

impl Init {
    /// Decides what `container` is to be in.
    pub(super) fn pid_namespace(&self, container: &Container, pids: Pids) -> Result<Namespace> {
        match (&container.pid, pids) {
            (PidMode::Target(target), _) => self.of_container(target).map(Namespace::Of),
            (PidMode::Container, _) | (PidMode::Sandbox, Pids::Container) => Ok(Namespace::Own),
            (PidMode::Sandbox, Pids::Host) => Ok(Namespace::Same),
            (PidMode::Sandbox, Pids::Pod) => {
                let pause = self.pause.as_ref().map(Pause::handle);
                let pause = pause.ok_or_else(|| Fault::Node("the pause process has ended".to_owned()))?;
                pause
                    .try_clone_to_owned()
                    .map(Namespace::Of)
                    .blame_node("find the pause process")
            }
        }
    }

    fn of_container(&self, name: &str) -> Result<OwnedFd> {
        let mut live = self.containers.iter().filter_map(Slot::live);
        let main = live
            .find(|live| live.spec.name == name && live.birth.is_none())
            .and_then(|live| live.main);
        let main =
            main.ok_or_else(|| Fault::Container(format!("the target container {name} is not running")))?;
        // It is not reaped, so that the number is still its.
        pidfd_open(main, PidfdFlags::empty())
            .blame_container(format_args!("find the target container {name}"))
    }
}

/// A process's id as the daemon sees it. /proc is the daemon's: the mount namespace of the pod init is a copy of its.
pub(super) fn host_pid(pid: Pid) -> Option<u32> {
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let path = format!("/proc/self/fdinfo/{}", process.as_raw_fd());
    let text = file::read(Path::new(&path)).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    id.trim().parse().ok().filter(|id| *id > 0)
}
