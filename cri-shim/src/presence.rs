//! Waits for auraed's socket to appear.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};

/// How long to wait where nothing tells: the socket's directory is not there, or the kernel gives no watch.
const AT_MOST: Duration = Duration::from_secs(30);

/// Sees whatever happens to the socket from when it was made.
pub(crate) struct Presence(Option<EventStream<[u8; 4096]>>);

impl Presence {
    /// Watches the socket's directory: make it before the call that may fail, so that nothing is missed in between.
    pub(crate) fn of(socket: &Path) -> Self {
        let mask = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ATTRIB | WatchMask::ONLYDIR;
        let watch = || {
            let inotify = Inotify::init()?;
            inotify
                .watches()
                .add(socket.parent().unwrap_or(Path::new("/")), mask)?;
            inotify.into_event_stream([0; 4096])
        };
        Self(watch().ok())
    }

    /// Returns when the socket may have come, after half a minute at the latest.
    pub(crate) async fn changed(&mut self) {
        let event = async {
            match &mut self.0 {
                Some(events) => drop(events.next().await),
                None => std::future::pending().await,
            }
        };
        let _ = tokio::time::timeout(AT_MOST, event).await;
    }
}
