//! Waits for what somebody else does to files.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a condition holds, and looks whenever something happens to an entry of a directory.
pub(crate) async fn until(directory: &Path, what: &str, mut condition: impl FnMut() -> bool) {
    let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    let wanted = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MODIFY | WatchFlags::MOVE;
    inotify::add_watch(&events, directory, wanted).unwrap();
    let events = Arc::new(events);
    while !condition() {
        let events = Arc::clone(&events);
        let happened = tokio::task::spawn_blocking(move || next(&events)).await;
        assert!(happened.unwrap(), "nothing happened for a minute: {what}");
    }
}

/// Takes up what happened; false if nothing did.
fn next(events: &OwnedFd) -> bool {
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let mut wanted = [PollFd::new(events, PollFlags::IN)];
    match poll(&mut wanted, Some(&patience)) {
        Ok(0) => return false,
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => panic!("cannot wait: {errno}"),
    }
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    while rustix::io::read(events, &mut buffer).is_ok() {}
    true
}
