//! Which network is configured: the first file of a directory that can be used, in the order of their names.
//!
//! ```text
//!  net.d/10-a.conflist   a list; and net.d/<its name>/*.conf where it lets others add plugins
//!  net.d/20-b.conf       or .json: a single plugin
//! ```
//!
//! inotify tells when to look again: whoever asks drains it first, so that an answer is never older than the last change
//! that was finished before the question, and nothing is read where nothing changed. A directory that is not there yet is
//! waited for in the nearest one that is. Where inotify cannot be had, every question looks.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::config::LONGEST;
use crate::{ConfigError, NetworkConfig, PluginConfig};

/// Files that are looked at; further ones are not.
const MOST_FILES: usize = 256;

/// A directory of configurations.
#[derive(Debug)]
pub struct Directory {
    inner: Arc<Inner>,
    /// None: it has not been looked at yet.
    selected: tokio::sync::Mutex<Option<Arc<Selected>>>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    inotify: Option<AsyncFd<OwnedFd>>,
    watched: Mutex<Watches>,
}

/// What is watched, and by which number.
type Watches = Vec<(i32, PathBuf)>;

/// What a directory says.
#[derive(Debug, Default)]
pub struct Selected {
    /// The network that is configured, if any.
    pub config: Option<Arc<NetworkConfig>>,
    /// Its file.
    pub file: Option<PathBuf>,
    /// Files before it that cannot be used.
    pub problems: Vec<Problem>,
}

/// A file that cannot be used, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// For people.
    pub reason: String,
}

impl Directory {
    /// Begins to watch. Must be called within a tokio runtime.
    #[must_use]
    pub fn watch(path: PathBuf) -> Directory {
        let inotify = match open_inotify() {
            Ok(inotify) => Some(inotify),
            Err(error) => {
                tracing::warn!(directory = %path.display(), %error, "CNI configurations are not watched: each use reads them");
                None
            }
        };
        let inner = Arc::new(Inner {
            path,
            inotify,
            watched: Mutex::default(),
        });
        Directory {
            inner,
            selected: tokio::sync::Mutex::default(),
        }
    }

    /// The directory's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What is configured now.
    pub async fn current(&self) -> Arc<Selected> {
        let mut selected = self.selected.lock().await;
        let changed = self.inner.drain();
        if let Some(known) = selected.as_ref().filter(|_| !changed) {
            return Arc::clone(known);
        }
        let inner = Arc::clone(&self.inner);
        let found = tokio::task::spawn_blocking(move || inner.scan()).await;
        let found = Arc::new(found.unwrap_or_default());
        match selected.as_ref().filter(|known| known.says_the_same(&found)) {
            Some(known) => Arc::clone(known),
            None => {
                *selected = Some(Arc::clone(&found));
                found
            }
        }
    }

    /// Waits until something else is configured than `seen`. Never returns where nothing can be watched. Cancel-safe.
    pub async fn changed(&self, seen: &Arc<Selected>) -> Arc<Selected> {
        loop {
            let now = self.current().await;
            if !Arc::ptr_eq(seen, &now) {
                return now;
            }
            let Some(inotify) = &self.inner.inotify else {
                return std::future::pending().await;
            };
            match inotify.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                // The runtime ends.
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

impl Selected {
    fn says_the_same(&self, other: &Selected) -> bool {
        let text = |selected: &Selected| {
            let config = selected.config.as_ref()?;
            let list = config.to_list(*config.versions().last()?).ok()?;
            Some((list.get().to_owned(), config.versions().clone()))
        };
        self.file == other.file && self.problems == other.problems && text(self) == text(other)
    }
}

impl Inner {
    /// Whether anything happened since the last call.
    fn drain(&self) -> bool {
        let Some(inotify) = &self.inotify else {
            return true;
        };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        let mut happened = false;
        loop {
            match reader.next() {
                Ok(event) => happened |= !self.is_unfinished(&event),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return happened,
                // Then it is better to look once too often.
                Err(_) => return true,
            }
        }
    }

    /// A file that came into being by itself is being written: it is told again when that is done.
    fn is_unfinished(&self, event: &inotify::Event<'_>) -> bool {
        let Some(name) = event.file_name() else {
            return false;
        };
        let is_new = event.events().contains(ReadFlags::CREATE) && !event.events().contains(ReadFlags::ISDIR);
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = watched.iter().find(|(watch, _)| *watch == event.wd());
        let Some((_, directory)) = directory.filter(|_| is_new) else {
            return false;
        };
        let found = std::fs::symlink_metadata(directory.join(OsStr::from_bytes(name.to_bytes())));
        found.is_ok_and(|found| found.is_file() && found.nlink() == 1)
    }

    fn scan(&self) -> Selected {
        let mut watches = Vec::new();
        let selected = self.select(&mut watches);
        self.replace_watches(watches);
        selected
    }

    /// Each directory is watched before it is read.
    fn select(&self, watches: &mut Watches) -> Selected {
        let mut selected = Selected::default();
        if !self.watch_directory(watches) {
            return selected;
        }
        let problem = |file: &Path, reason: String| Problem {
            file: file.to_owned(),
            reason,
        };
        let files = match files(&self.path, &["conflist", "conf", "json"]) {
            Ok(files) => files,
            Err(error) => {
                selected.problems.push(problem(&self.path, error.to_string()));
                return selected;
            }
        };
        for file in files {
            match self.load(&file, watches) {
                Ok(config) => {
                    selected.config = Some(Arc::new(config));
                    selected.file = Some(file);
                    break;
                }
                Err(reason) => selected.problems.push(problem(&file, reason)),
            }
        }
        selected
    }

    fn load(&self, file: &Path, watches: &mut Watches) -> Result<NetworkConfig, String> {
        let bytes = read(file)?;
        let is_list = file.extension() == Some(OsStr::new("conflist"));
        let parsed = if is_list {
            NetworkConfig::parse_list(&bytes)
        } else {
            NetworkConfig::parse_single(&bytes)
        };
        let config = parsed.map_err(|error| reason(&error))?;
        if config.only_inlined() {
            return Ok(config);
        }
        let beside = self.path.join(config.name());
        self.watch_one(&beside, changes(), watches);
        let mut plugins = Vec::new();
        for file in files(&beside, &["conf"]).map_err(|error| error.to_string())? {
            let plugin = PluginConfig::parse(&read(&file)?);
            plugins.push(plugin.map_err(|error| format!("{}: {}", file.display(), reason(&error)))?);
        }
        config.with_plugins(plugins).map_err(|error| reason(&error))
    }

    /// Whether the directory is there; if not, the nearest one above it is watched.
    fn watch_directory(&self, watches: &mut Watches) -> bool {
        loop {
            if self.watch_one(&self.path, changes(), watches) || self.path.is_dir() {
                return true;
            }
            let above = self.path.ancestors().skip(1).find(|above| above.is_dir());
            let Some(above) = above else { return false };
            let appears = WatchFlags::CREATE
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR;
            self.watch_one(above, appears, watches);
            // It may have come into being before it was watched for.
            let next = self
                .path
                .ancestors()
                .take_while(|path| *path != above)
                .last()
                .is_some_and(Path::is_dir);
            if !next {
                return false;
            }
        }
    }

    fn watch_one(&self, path: &Path, flags: WatchFlags, watches: &mut Watches) -> bool {
        let Some(inotify) = &self.inotify else {
            return false;
        };
        match inotify::add_watch(inotify, path, flags) {
            Ok(watch) => {
                watches.push((watch, path.to_owned()));
                true
            }
            Err(Errno::NOENT | Errno::NOTDIR) => false,
            Err(error) => {
                tracing::warn!(directory = %path.display(), %error, "a directory of CNI configurations is not watched");
                false
            }
        }
    }

    fn replace_watches(&self, watches: Watches) {
        let Some(inotify) = &self.inotify else { return };
        // The holder assigns a whole value.
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let still = |old: i32| watches.iter().any(|(watch, _)| *watch == old);
        for (old, _) in watched.iter().filter(|(old, _)| !still(*old)) {
            // It may have gone with its directory.
            let _ = inotify::remove_watch(inotify, *old);
        }
        *watched = watches;
    }
}

/// A file is looked at when it is written to its end, not before; links and directories are there at once.
fn changes() -> WatchFlags {
    WatchFlags::CREATE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for types whose descriptor may change; an OwnedFd's cannot"
)]
fn open_inotify() -> io::Result<AsyncFd<OwnedFd>> {
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    AsyncFd::new(inotify)
}

/// The directory's files with one of the extensions, by name. None where there is no directory.
fn files(directory: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let entries = match fs_err::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let wanted = path
            .extension()
            .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted));
        // A link to a file is one.
        if wanted && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    files.truncate(MOST_FILES);
    Ok(files)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    // What is a pipe must not keep us waiting.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
    let opened = rustix::fs::open(file, flags, rustix::fs::Mode::empty());
    let opened = opened.map_err(|error| io::Error::from(error).to_string())?;
    let regular = rustix::fs::fstat(opened.as_fd()).is_ok_and(|found| {
        rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::RegularFile
    });
    if !regular {
        return Err("it is no file".to_owned());
    }
    std::fs::File::from(opened)
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn reason(error: &ConfigError) -> String {
    crate::error::chain(error)
}

#[cfg(test)]
mod tests;
