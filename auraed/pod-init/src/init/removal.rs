//! Cgroups of containers that are over, and that killed processes still keep.
//!
//! A process that this one reaps ends with a signal; of others, in a PID namespace that containers share, the cgroup itself
//! tells: `cgroup.events` can be polled (cgroup v2, "Populated notification"). inotify can watch it as well, but the end of
//! an inotify waits for a grace period of the kernel, 8 to 16 ms, and with it the end of the pod. (Where all of it is version 1
//! the next end of a container removes it, or the daemon with the pod.)

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};

use super::poll::{Poll, Token};
use crate::cgroup;
use crate::protocol::CgroupDirectory;

/// What is to be removed once it is empty.
#[derive(Default)]
pub(super) struct Removals {
    waiting: Vec<Waiting>,
}

struct Waiting {
    cgroups: Vec<CgroupDirectory>,
    /// Tells that it has become empty. What cannot be watched waits for the next end of a container.
    events: Option<OwnedFd>,
}

impl Removals {
    /// Removes a cgroup, now or as soon as it is empty.
    pub(super) fn remove(&mut self, cgroups: Vec<CgroupDirectory>, poll: &Poll) {
        if cgroup::remove(&cgroups) {
            return;
        }
        let waiting = Waiting::begin(cgroups, poll);
        // It may have become empty just before.
        if cgroup::remove(&waiting.cgroups) {
            waiting.end(poll);
        } else {
            self.waiting.push(waiting);
        }
    }

    /// Removes what has become empty.
    pub(super) fn retry(&mut self, poll: &Poll) {
        self.drop_if(poll, |waiting| {
            // Before the attempt: what changes after it is told again.
            waiting.take_event();
            cgroup::remove(&waiting.cgroups)
        });
    }

    /// A cgroup is wanted again.
    pub(super) fn forget(&mut self, cgroups: &[CgroupDirectory], poll: &Poll) {
        self.drop_if(poll, |waiting| waiting.cgroups == cgroups);
    }

    fn drop_if(&mut self, poll: &Poll, mut over: impl FnMut(&Waiting) -> bool) {
        for waiting in self.waiting.extract_if(.., |waiting| over(waiting)) {
            waiting.end(poll);
        }
    }
}

impl Waiting {
    fn begin(cgroups: Vec<CgroupDirectory>, poll: &Poll) -> Self {
        let mut waiting = Self {
            cgroups,
            events: None,
        };
        let unified = waiting.cgroups.iter().find(|cgroup| cgroup.unified);
        let file = unified.map(|cgroup| cgroup.path.join("cgroup.events"));
        waiting.events = file
            .and_then(|file| open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok())
            .filter(|events| poll.add_changing(events, Token::Cgroups).is_ok());
        waiting.take_event();
        waiting
    }

    /// Changes from here on are told.
    fn take_event(&self) {
        if let Some(events) = &self.events {
            // What it says is seen by trying; a directory that is gone cannot be read, and will be seen to be gone.
            let _ = rustix::io::pread(events, &mut [0; 128], 0);
        }
    }

    fn end(self, poll: &Poll) {
        if let Some(events) = self.events {
            poll.remove(events);
        }
    }
}
