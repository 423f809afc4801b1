//! The directories of layers, and what keeps them.
//!
//! ```text
//!   layers/sha256-<diff-id>/root      a layer, a lower directory of overlayfs
//!                           implied   directories that the layer only implies, each ended by a NUL
//!                           links     hard links to what lower layers have: path and target, each ended by a NUL
//!                           deleted-in  directories that names are deleted in, each ended by a NUL
//!                           opaque    is there if the layer has opaque directories
//!                           usage     bytes and inodes of the layer
//!                           unsynced  the boot in which it was unpacked, until it is known to be on the disk
//!   layers/chain-<digest>/root        metadata of implied directories for one chain of layers; see `correction`
//!   layers/empty/root                 the root of an image without layers
//! ```
//!
//! A directory appears by one rename and goes by one rename, so there is no half of one. What an image or a running
//! pull names is pinned; the rest is removed when an image goes, and when the store is opened.
//!
//! A crash of the daemon loses nothing. A crash of the machine may lose file content that the kernel had not written
//! yet, so what was unpacked in an earlier boot and not synced since counts as missing. The sync itself happens behind
//! the pull, which does not wait for it.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};

use crate::Usage;
use crate::layer::{Ingest, Staging, remove_tree};
use crate::unpack::limit;

pub(crate) const EMPTY: &str = "empty";

/// The directories of this store. A cheap handle.
#[derive(Clone)]
pub(crate) struct Layers {
    directory: PathBuf,
    ingest: Ingest,
    boot: Arc<str>,
    pins: Arc<Mutex<HashMap<String, usize>>>,
    usage: Arc<Mutex<HashMap<String, Usage>>>,
    /// Whoever gives a directory its name.
    publishing: Arc<Mutex<()>>,
}

/// Keeps directories from being removed while a pull counts on them.
pub(crate) struct Pin {
    pins: Arc<Mutex<HashMap<String, usize>>>,
    names: Vec<String>,
}

impl Layers {
    /// Opens the directory, clears what is half done, and makes the layer of images without layers. Blocks.
    pub(crate) fn open(directory: &Path) -> io::Result<Layers> {
        let ingest = Ingest::open(directory.join("ingest"))?;
        let layers = directory.join("layers");
        fs_err::create_dir_all(layers.join(EMPTY).join("root"))?;
        let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let layers = Layers {
            directory: layers,
            ingest,
            boot: boot.trim().into(),
            pins: Arc::default(),
            usage: Arc::default(),
            publishing: Arc::default(),
        };
        // What is not whole takes no part; it is removed once it is known what is used.
        let whole = |name: &String| name != EMPTY && layers.exists(name);
        for name in layers.names()?.into_iter().filter(whole) {
            let usage = layers.read_usage(&name)?;
            layers.counted().insert(name, usage);
        }
        Ok(layers)
    }

    /// What all directories take, in memory.
    pub(crate) fn usage(&self) -> Usage {
        self.counted().values().copied().sum()
    }

    fn counted(&self) -> MutexGuard<'_, HashMap<String, Usage>> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_usage(&self, name: &str) -> io::Result<Usage> {
        let text = fs_err::read_to_string(self.path(name).join("usage")).unwrap_or_default();
        match Usage::parse(&text) {
            Some(usage) => Ok(usage),
            None => Usage::measure(&self.path(name), limit::ENTRIES),
        }
    }

    pub(crate) fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn implied(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("implied")
    }

    pub(crate) fn links(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("links")
    }

    pub(crate) fn deleted_in(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("deleted-in")
    }

    /// Whether a layer may have opaque directories. One without a record of its usage is older than this one.
    pub(crate) fn may_be_opaque(&self, name: &str) -> bool {
        let path = self.path(name);
        path.join("opaque").exists() || !path.join("usage").exists()
    }

    pub(crate) fn root(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("root")
    }

    /// Whether a directory is here, whole.
    pub(crate) fn exists(&self, name: &str) -> bool {
        let unsynced = fs_err::read_to_string(self.path(name).join("unsynced"));
        let lost = unsynced.is_ok_and(|boot| boot != *self.boot);
        !lost && self.root(name).is_dir()
    }

    /// Counts on directories from now on, whether they are here yet or not.
    pub(crate) fn pin(&self, names: Vec<String>) -> Pin {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &names {
            *pins.entry(name.clone()).or_default() += 1;
        }
        Pin {
            pins: self.pins.clone(),
            names,
        }
    }

    /// Gives a staged directory its name. One that is there already wins, unless it is broken. Blocks.
    pub(crate) fn publish(&self, staging: Staging, name: &str) -> io::Result<()> {
        if self.exists(name) {
            return Ok(());
        }
        fs_err::write(staging.path().join("unsynced"), self.boot.as_bytes())?;
        let usage = staging.usage();
        let rubbish = {
            let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
            // Somebody may have been faster, and count on it by now.
            if self.exists(name) {
                None
            } else {
                let rubbish = self.take(name)?;
                staging.publish(&self.path(name))?;
                self.counted().insert(name.to_owned(), usage);
                rubbish
            }
        };
        rubbish.map_or(Ok(()), |rubbish| remove_tree(&rubbish))
    }

    /// Writes everything unpacked so far to the disk, and says so. Blocks, for as long as the disk takes.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut marks = Vec::new();
        for name in self.names()? {
            let mark = self.path(&name).join("unsynced");
            if mark.exists() && self.exists(&name) {
                marks.push(mark);
            }
        }
        if marks.is_empty() {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::syncfs(rustix::fs::open(&self.directory, flags, Mode::empty())?)?;
        for mark in marks {
            match fs_err::remove_file(mark) {
                // Its layer went meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Removes the directories that neither `used` nor a pin names. Moving them away is at once, so that whoever pins a
    /// name afterwards finds nothing; removing them then takes its time. Blocks.
    ///
    /// `used` is asked while no pin comes or goes: what was pinned until it was named is in one of both.
    pub(crate) fn collect(&self, used: impl FnOnce() -> BTreeSet<String>) -> io::Result<()> {
        let mut rubbish = Vec::new();
        {
            let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
            let used = used();
            for name in self.names()? {
                if name != EMPTY && !used.contains(&name) && !pins.contains_key(&name) {
                    rubbish.extend(self.take(&name)?);
                }
            }
        }
        rubbish.iter().try_for_each(|path| remove_tree(path))
    }

    fn take(&self, name: &str) -> io::Result<Option<PathBuf>> {
        let rubbish = self.ingest.fresh();
        match fs_err::rename(self.path(name), &rubbish) {
            Ok(()) => {
                self.counted().remove(name);
                Ok(Some(rubbish))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(&self.directory)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }
}

impl Pin {
    /// Counts on one more directory.
    pub(crate) fn add(&mut self, name: String) {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        *pins.entry(name.clone()).or_default() += 1;
        self.names.push(name);
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &self.names {
            if let Some(count) = pins.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn add(layers: &Layers, name: &str) {
        layers.publish(layers.ingest().staging().unwrap(), name).unwrap();
    }

    #[test]
    fn what_nobody_names_is_collected() {
        let directory = tempfile::tempdir().unwrap();
        let layers = Layers::open(directory.path()).unwrap();
        for name in ["used", "pinned", "rubbish"] {
            add(&layers, name);
        }
        let pin = layers.pin(vec!["pinned".into()]);
        let used = BTreeSet::from(["used".to_owned()]);
        layers.collect(|| used.clone()).unwrap();
        assert!(layers.exists("used") && layers.exists("pinned") && layers.exists(EMPTY));
        assert!(!layers.exists("rubbish"));
        drop(pin);
        layers.collect(|| used).unwrap();
        assert!(!layers.exists("pinned"));
        assert_eq!(
            fs_err::read_dir(directory.path().join("ingest")).unwrap().count(),
            0
        );
    }

    #[test]
    fn what_is_named_just_now_and_not_pinned_any_more_is_not_collected() {
        let directory = tempfile::tempdir().unwrap();
        let layers = Layers::open(directory.path()).unwrap();
        add(&layers, "new");
        let pin = layers.pin(vec!["new".into()]);
        std::thread::scope(|scope| {
            let used = || {
                // Meanwhile its pull ends, too late to be among those that are named.
                scope.spawn(|| drop(pin));
                BTreeSet::new()
            };
            layers.collect(used).unwrap();
        });
        assert!(layers.exists("new"));
    }

    #[test]
    fn what_is_no_layer_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        drop(Layers::open(directory.path()).unwrap());
        let stray = directory.path().join("layers/stray");
        fs_err::write(&stray, "x").unwrap();
        fs_err::create_dir(directory.path().join("layers/hollow")).unwrap();
        let layers = Layers::open(directory.path()).unwrap();
        assert_eq!(layers.usage(), Usage::default());
        layers.collect(BTreeSet::new).unwrap();
        assert_eq!(layers.names().unwrap(), [EMPTY]);
    }

    #[test]
    fn one_of_many_who_publish_the_same_wins_and_the_others_take_what_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let layers = Layers::open(directory.path()).unwrap();
        for round in 0..50 {
            let (name, barrier) = (format!("{round}"), std::sync::Barrier::new(4));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let staging = layers.ingest().staging().unwrap();
                        barrier.wait();
                        layers.publish(staging, &name).unwrap();
                        // Whoever was told that it is here may use it.
                        let before = fs_err::metadata(layers.root(&name)).unwrap();
                        barrier.wait();
                        let after = fs_err::metadata(layers.root(&name)).unwrap();
                        assert_eq!(before.ino(), after.ino());
                    });
                }
            });
        }
        let left = fs_err::read_dir(directory.path().join("ingest")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn what_an_earlier_boot_did_not_sync_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let layers = Layers::open(directory.path()).unwrap();
        add(&layers, "a");
        add(&layers, "b");
        assert!(layers.exists("a"));
        let mark = layers.path("a").join("unsynced");
        fs_err::write(&mark, "another boot").unwrap();
        assert!(!layers.exists("a"));
        layers.sync().unwrap();
        assert!(!layers.exists("a") && mark.exists());
        assert!(!layers.path("b").join("unsynced").exists());
        add(&layers, "a");
        assert!(layers.exists("a"));
    }
}
