//! One inotify descriptor for all who follow logs: a user may have few of them, and many watches on each.
//!
//! A task reads it and wakes the subscribers of the directory that changed. Directories are watched while somebody is
//! subscribed.

use crate::descriptor::register;
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Wakes those who follow logs. Clones are one.
#[derive(Clone, Debug)]
pub struct LogWatcher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    inotify: AsyncFd<OwnedFd>,
    /// By watch descriptor; all subscribers of one directory share one.
    directories: Mutex<HashMap<i32, Directory>>,
}

#[derive(Debug)]
struct Directory {
    wake: watch::Sender<()>,
    subscribers: usize,
}

/// One who follows. Dropping it unsubscribes.
#[derive(Debug)]
pub(super) struct Subscription {
    inner: Arc<Inner>,
    descriptor: i32,
    woken: watch::Receiver<()>,
}

impl LogWatcher {
    /// Starts the task; it ends when `stop` is cancelled. Must be called inside the runtime.
    ///
    /// # Errors
    /// The system's, if there are too many inotify descriptors.
    pub fn start(stop: CancellationToken) -> io::Result<(Self, JoinHandle<()>)> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let inner = Arc::new(Inner {
            inotify: register(inotify)?,
            directories: Mutex::default(),
        });
        let reading = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            stop.run_until_cancelled(reading.serve()).await;
        });
        Ok((Self { inner }, task))
    }

    /// Subscribes to changes of files in `directory`, from now on. `None` if it cannot be watched.
    pub(super) fn subscribe(&self, directory: &Path) -> Option<Subscription> {
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        let mut directories = self.inner.directories();
        let descriptor = match inotify::add_watch(&self.inner.inotify, directory, flags) {
            Ok(descriptor) => descriptor,
            Err(error) => {
                tracing::debug!(directory = %directory.display(), %error, "cannot watch a log directory");
                return None;
            }
        };
        let entry = directories.entry(descriptor).or_insert_with(|| Directory {
            wake: watch::Sender::new(()),
            subscribers: 0,
        });
        entry.subscribers += 1;
        let woken = entry.wake.subscribe();
        Some(Subscription {
            inner: Arc::clone(&self.inner),
            descriptor,
            woken,
        })
    }
}

impl Inner {
    /// A poisoned lock means that a panic hit between two changes of a map, which is still a map.
    fn directories(&self) -> MutexGuard<'_, HashMap<i32, Directory>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self) {
        loop {
            let Ok(mut ready) = self.inotify.readable().await else {
                return;
            };
            self.read();
            ready.clear_ready();
        }
    }

    /// Reads until nothing is left.
    fn read(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => self.wake(event.wd(), event.events()),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn wake(&self, descriptor: i32, events: ReadFlags) {
        let mut directories = self.directories();
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            directories
                .values()
                .for_each(|directory| directory.wake.send_replace(()));
        } else if events.contains(ReadFlags::IGNORED) {
            // The directory is gone, or nobody is subscribed; dropping the sender tells the former.
            directories.remove(&descriptor);
        } else if let Some(directory) = directories.get(&descriptor) {
            directory.wake.send_replace(());
        }
    }
}

impl Subscription {
    /// Waits for a change since the last call; `false` if the directory is gone. Cancel-safe.
    pub(super) async fn changed(&mut self) -> bool {
        self.woken.changed().await.is_ok()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut directories = self.inner.directories();
        let Some(directory) = directories.get_mut(&self.descriptor) else {
            return;
        };
        directory.subscribers -= 1;
        if directory.subscribers == 0 {
            directories.remove(&self.descriptor);
            let _ = inotify::remove_watch(&self.inner.inotify, self.descriptor);
        }
    }
}
