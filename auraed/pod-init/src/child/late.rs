//! Mounts on a container's /proc, which is there only when the process is in the container's PID namespace: until then they
//! are kept open.
//!
//! Only files that tell about the machine can be covered, as by lxcfs: whatever a container finds below /proc about
//! processes, itself among them, is the kernel's word.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{OFlags, fstatfs};

use super::{mount, path, tree};
use crate::fault::{Blame, Fault, Result};
use crate::sys;

const PROC: &str = "/proc";
/// statfs(2)'s type of /proc (include/uapi/linux/magic.h).
const PROC_MAGIC: u64 = 0x9fa0;
/// What may be covered; the same that other runtimes allow.
const COVERED: [&str; 12] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/version",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
];
/// Above the numbers that are given to what is kept.
const HIGH: RawFd = 512;

/// Whether a mount's target is below /proc, or is that.
pub(super) fn concerns(target: &str) -> bool {
    let mut parts = target.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.next() == PROC.split('/').nth(1)
}

/// What is done when /proc is there.
#[derive(Default)]
pub(super) struct Late {
    /// The container's owner has mounted another one.
    has_proc: bool,
    mounts: Vec<(String, OwnedFd)>,
    numbers: Vec<(String, RawFd)>,
}

impl Late {
    /// Takes a detached mount that [`concerns`] /proc.
    pub(super) fn add(&mut self, root: BorrowedFd<'_>, target: &str, source: OwnedFd) -> Result<()> {
        let plain = target.trim_end_matches('/');
        if COVERED.contains(&plain) {
            self.mounts.push((plain.to_owned(), source));
            return Ok(());
        }
        let is_proc = fstatfs(&source).is_ok_and(|system| system.f_type as u64 == PROC_MAGIC);
        if plain != PROC || !is_proc {
            return Err(Fault::Container(format!(
                "cannot mount on {target}: it is the kernel's"
            )));
        }
        self.has_proc = true;
        tree::attach_at(root, source.as_fd(), PROC)
    }

    /// Keeps what was taken open at the numbers from `above` on. Returns the first number above those. Whoever else has one of
    /// them is closed.
    pub(super) fn keep(&mut self, above: u32) -> Result<u32> {
        let tried = "keep the mounts on /proc";
        let high = |(target, source): (String, OwnedFd)| {
            rustix::io::fcntl_dupfd_cloexec(&source, HIGH).map(|source| (target, source))
        };
        let mounts: std::result::Result<Vec<_>, _> = self.mounts.drain(..).map(high).collect();
        let mut next = above as RawFd;
        for (target, source) in mounts.blame_node(tried)? {
            sys::duplicate_to(source.as_fd(), next, true).blame_node(tried)?;
            self.numbers.push((target, next));
            next += 1;
        }
        Ok(next as u32)
    }

    /// Mounts /proc of the PID namespace that this process is in, and on it what was kept.
    pub(super) fn mount(&self, root: BorrowedFd<'_>) -> Result<()> {
        if !self.has_proc {
            tree::mount_proc(root)?;
        }
        for (target, number) in &self.numbers {
            let tried = format_args!("mount on {target}");
            let place = path::open_without_links(root, target, OFlags::PATH).blame_container(tried)?;
            mount::attach(sys::kept(*number), place.as_fd()).blame_container(tried)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_told_from_what_is_called_alike() {
        for target in ["/proc", "/proc/", "//proc/sys", "/./proc/cpuinfo"] {
            assert!(concerns(target), "{target}");
        }
        for target in ["/process", "/data/proc", "/", ""] {
            assert!(!concerns(target), "{target}");
        }
    }
}
