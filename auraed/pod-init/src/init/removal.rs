//! Cgroups of containers that are over, and that killed processes still keep.
//!
//! A process that this one reaps ends with a signal; of others, in a PID namespace that containers share, the cgroup itself
//! tells. (Where all of it is version 1 the next end of a container removes it, or the daemon with the pod.)

use std::os::fd::OwnedFd;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::poll::{Poll, Token};
use crate::cgroup;
use crate::protocol::CgroupDirectory;

/// What is to be removed once it is empty.
#[derive(Default)]
pub(super) struct Removals {
    waiting: Vec<Vec<CgroupDirectory>>,
    /// Tells that one has become empty; made when it is needed first.
    watch: Option<OwnedFd>,
}

impl Removals {
    /// Removes a cgroup, now or as soon as it is empty.
    pub(super) fn remove(&mut self, cgroups: Vec<CgroupDirectory>, poll: &Poll) {
        if cgroup::remove(&cgroups) {
            return;
        }
        self.watch(&cgroups, poll);
        // It may have become empty just before.
        if !cgroup::remove(&cgroups) {
            self.waiting.push(cgroups);
        }
    }

    fn watch(&mut self, cgroups: &[CgroupDirectory], poll: &Poll) {
        let Some(unified) = cgroups.iter().find(|cgroup| cgroup.unified) else {
            return;
        };
        if self.watch.is_none()
            && let Ok(watch) = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            && poll.add(&watch, Token::Cgroups).is_ok()
        {
            self.watch = Some(watch);
        }
        if let Some(watch) = &self.watch {
            // What cannot be watched waits for the next end of a container. The watch ends with the directory.
            let events = unified.path.join("cgroup.events");
            let _ = inotify::add_watch(watch, events, WatchFlags::MODIFY);
        }
    }

    /// Removes what has become empty.
    pub(super) fn retry(&mut self) {
        if let Some(watch) = &self.watch {
            let mut events = [0; 1024];
            // What they say is seen below.
            while rustix::io::read(watch, &mut events).is_ok_and(|count| count > 0) {}
        }
        self.waiting.retain(|cgroups| !cgroup::remove(cgroups));
    }

    /// A cgroup is wanted again.
    pub(super) fn forget(&mut self, cgroups: &[CgroupDirectory]) {
        self.waiting.retain(|waiting| waiting != cgroups);
    }
}
