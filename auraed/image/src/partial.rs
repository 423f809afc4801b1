//! Parts of large layers that interrupted pulls left, so that the next pull goes on where they stopped.
//!
//! ```text
//!   partial/sha256-<digest of the blob>      its first bytes, as they came
//! ```
//!
//! A part is written while its layer is fetched, beside the unpacking, and is removed when the layer is here. What a
//! cancelled pull or a killed daemon leaves is as long as it was written; after a crash of the machine it may hold
//! anything. So nothing is believed of it: its bytes go through the same digest as those that come after them, and a
//! blob that turns out wrong is fetched again without it.
//!
//! There is a bound for all parts together, and an age after which one goes that no pull wanted. One fetch holds a part
//! at a time; who wants it meanwhile waits, because that fetch is ending: there is one of a layer.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use crate::layer::remove_tree;
use crate::{Digest, Usage};

/// Blobs below this are fetched again.
const LEAST: u64 = 16 * 1024 * 1024;

/// All parts of a store. A cheap handle.
#[derive(Clone)]
pub(crate) struct Partials {
    shared: Arc<Shared>,
}

struct Shared {
    directory: PathBuf,
    most: u64,
    age: Duration,
    parts: Mutex<HashMap<String, Part>>,
    /// A part is there that nobody holds.
    left: Arc<Notify>,
    /// Some part is not held any more.
    released: Notify,
}

/// What became of an attempt to hold a part.
enum Attempt {
    Held(Partial),
    ByAnother,
    NoRoom,
}

struct Part {
    bytes: Arc<AtomicU64>,
    /// What it may come to, while it is held.
    held: Option<u64>,
    changed: SystemTime,
}

/// A part that one fetch has for itself. Dropped it stays, for the next one.
pub(crate) struct Partial {
    name: String,
    file: File,
    /// What was there when it was taken up.
    known: u64,
    bytes: Arc<AtomicU64>,
    shared: Arc<Shared>,
    /// Its name may be another one's by now.
    removed: bool,
}

impl Partials {
    /// Opens the directory and removes what is no part, or an old one. `most` bytes in all; none are kept with 0. Blocks.
    pub(crate) fn open(directory: PathBuf, most: u64, age: Duration) -> io::Result<Partials> {
        fs_err::create_dir_all(&directory)?;
        let mut parts = HashMap::new();
        for entry in fs_err::read_dir(&directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !metadata.is_file() || name.replacen('-', ":", 1).parse::<Digest>().is_err() {
                remove_tree(&entry.path())?;
                continue;
            }
            let part = Part {
                bytes: Arc::new(AtomicU64::new(metadata.len())),
                held: None,
                changed: metadata.modified()?,
            };
            parts.insert(name, part);
        }
        let shared = Shared {
            directory,
            most,
            age,
            parts: Mutex::new(parts),
            left: Arc::default(),
            released: Notify::new(),
        };
        let partials = Partials {
            shared: Arc::new(shared),
        };
        partials.expire();
        // A smaller bound than before.
        partials.shared.make_room(0);
        Ok(partials)
    }

    /// Removes old parts as they come of age, for as long as there is a handle to them.
    pub(crate) fn expire_in_time(&self) {
        let (shared, left) = (Arc::downgrade(&self.shared), Arc::clone(&self.shared.left));
        tokio::spawn(expire_in_time(shared, left));
    }

    /// Takes up the part of a blob of this size, or begins one; `None` where none is to be kept. Waits for who has it.
    pub(crate) async fn hold(&self, digest: &Digest, size: u64) -> Option<Partial> {
        if size < LEAST || size > self.shared.most {
            return None;
        }
        let name = digest.file_name();
        loop {
            let mut released = std::pin::pin!(self.shared.released.notified());
            // Before the look: what is let go after it is heard.
            released.as_mut().enable();
            let (partials, wanted) = (self.clone(), name.clone());
            let attempt = tokio::task::spawn_blocking(move || partials.attempt(&wanted, size)).await;
            match attempt {
                Ok(Ok(Attempt::Held(partial))) => return Some(partial),
                Ok(Ok(Attempt::ByAnother)) => released.await,
                Ok(Ok(Attempt::NoRoom)) | Err(_) => return None,
                Ok(Err(error)) => {
                    tracing::debug!(name, %error, "no part of a layer is kept");
                    return None;
                }
            }
        }
    }

    /// Blocks, shortly.
    fn attempt(&self, name: &str, size: u64) -> io::Result<Attempt> {
        self.expire();
        self.shared.hold(name, size)
    }

    /// What all parts take.
    pub(crate) fn usage(&self) -> Usage {
        let parts = self.shared.parts();
        let bytes = parts.values().map(|part| part.bytes.load(Ordering::Relaxed));
        bytes.map(Usage::inode).sum()
    }

    /// Removes parts that are too old. Blocks.
    fn expire(&self) {
        let now = SystemTime::now();
        self.shared
            .remove_where(|part| part.left(now, self.shared.age).is_zero());
    }
}

async fn expire_in_time(shared: Weak<Shared>, left: Arc<Notify>) {
    loop {
        let Some(partials) = shared.upgrade().map(|shared| Partials { shared }) else {
            return;
        };
        let next = {
            let (now, parts) = (SystemTime::now(), partials.shared.parts());
            let free = parts.values().filter(|part| part.held.is_none());
            free.map(|part| part.left(now, partials.shared.age)).min()
        };
        drop(partials);
        let Some(next) = next else {
            left.notified().await;
            continue;
        };
        if tokio::time::timeout(next, left.notified()).await.is_ok() {
            continue;
        }
        if let Some(shared) = shared.upgrade() {
            // A panic in there is told by the panic itself.
            let _ = tokio::task::spawn_blocking(move || Partials { shared }.expire()).await;
        }
    }
}

impl Part {
    /// How long it is to be kept.
    fn left(&self, now: SystemTime, age: Duration) -> Duration {
        // One of the future is as young as one can be.
        age.saturating_sub(now.duration_since(self.changed).unwrap_or_default())
    }
}

impl Shared {
    fn parts(&self) -> MutexGuard<'_, HashMap<String, Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(self: &Arc<Self>, name: &str, size: u64) -> io::Result<Attempt> {
        let path = self.directory.join(name);
        {
            let mut parts = self.parts();
            let part = parts.entry(name.to_owned()).or_insert_with(|| Part {
                bytes: Arc::default(),
                held: None,
                changed: SystemTime::now(),
            });
            if part.held.is_some() {
                return Ok(Attempt::ByAnother);
            }
            part.held = Some(size);
        }
        let opened = self.make_room(size).then(|| open(&path, size)).transpose();
        let mut parts = self.parts();
        let failed = match (opened, parts.get(name)) {
            (Ok(Some((file, known))), Some(part)) => {
                part.bytes.store(known, Ordering::Relaxed);
                return Ok(Attempt::Held(Partial {
                    name: name.to_owned(),
                    file,
                    known,
                    bytes: Arc::clone(&part.bytes),
                    shared: Arc::clone(self),
                    removed: false,
                }));
            }
            (Err(error), _) => Err(error),
            (Ok(_), _) => Ok(Attempt::NoRoom),
        };
        // It may be what fills the disk.
        report(fs_err::remove_file(path), name);
        parts.remove(name);
        self.released.notify_waiters();
        failed
    }

    /// Removes the oldest parts until all fit, and says whether they do. So much that is still to be written must also
    /// fit on the disk, together with what it is unpacked to.
    fn make_room(&self, wanted: u64) -> bool {
        loop {
            let oldest = {
                let parts = self.parts();
                let taken = |part: &Part| part.held.unwrap_or(part.bytes.load(Ordering::Relaxed));
                let sum = parts.values().map(taken).fold(0, u64::saturating_add);
                let fits = rustix::fs::statvfs(&self.directory)
                    .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) / 4 >= wanted);
                if sum <= self.most && fits {
                    return true;
                }
                let free = parts.iter().filter(|(_, part)| part.held.is_none());
                free.min_by_key(|(_, part)| part.changed)
                    .map(|(name, _)| name.clone())
            };
            let Some(oldest) = oldest else {
                return false;
            };
            self.remove(&oldest);
        }
    }

    fn remove_where(&self, gone: impl Fn(&Part) -> bool) {
        let names: Vec<String> = {
            let parts = self.parts();
            let gone = parts.iter().filter(|(_, part)| part.held.is_none() && gone(part));
            gone.map(|(name, _)| name.clone()).collect()
        };
        names.iter().for_each(|name| self.remove(name));
    }

    /// Removes one that is not held.
    fn remove(&self, name: &str) {
        // Under the lock, so that who takes it up meanwhile finds all or nothing.
        let mut parts = self.parts();
        if parts.get(name).is_some_and(|part| part.held.is_none()) {
            report(fs_err::remove_file(self.directory.join(name)), name);
            parts.remove(name);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Whoever waits for parts finds that there is nothing to wait for.
        self.left.notify_one();
    }
}

impl Partial {
    /// How many bytes there were when it was taken up.
    pub(crate) fn known(&self) -> u64 {
        self.known
    }

    /// The file, to read what was known.
    pub(crate) fn reader(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Writes the bytes that come next. Blocks.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // It was opened to append.
        self.file.write_all(bytes)?;
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Removes it: its layer is here, or it is worth nothing. Blocks.
    pub(crate) fn remove(mut self) {
        report(fs_err::remove_file(self.path()), &self.name);
        self.shared.parts().remove(&self.name);
        self.shared.released.notify_waiters();
        self.removed = true;
    }

    fn path(&self) -> PathBuf {
        self.shared.directory.join(&self.name)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        let mut parts = self.shared.parts();
        if let Some(part) = parts.get_mut(&self.name) {
            part.held = None;
            part.changed = SystemTime::now();
            self.shared.left.notify_one();
            self.shared.released.notify_waiters();
        }
    }
}

/// Opens a part and says how long it is. One that is longer than its blob is none.
fn open(path: &Path, size: u64) -> io::Result<(File, u64)> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    let known = file.metadata()?.len();
    if known > size {
        file.set_len(0)?;
        return Ok((file, 0));
    }
    Ok((file, known))
}

/// Reads the bytes at an offset, as many as `most`. Blocks.
pub(crate) fn read_at(file: &File, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn report(result: io::Result<()>, name: &str) {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(name, %error, "cannot remove the part of a layer");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
