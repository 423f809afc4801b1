//! The records on the disk: a file an attachment, whole at any instruction, and there until it is removed.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::io::Write as _;

use crate::error::chain;
use crate::record::Record;
use crate::{Attachment, Error, orphan};

/// Bytes of a record: a configuration, a result, and what was said of the attachment.
const LONGEST: u64 = 8 << 20;

/// A file that is being written; one that is found was never finished.
const UNFINISHED: &str = ".new";

/// A directory of records, which is this process's alone. Calls block, but for [`Store::may_have`].
#[derive(Clone, Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    /// The files that are there, or were: most questions are about none.
    known: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Store {
    /// Makes the directory, takes away what was not finished, and ends plugins that outlived their daemon.
    pub(crate) fn open(directory: PathBuf) -> Result<Store, Error> {
        let store = Store {
            directory,
            known: Arc::default(),
        };
        let failed = |source| Error::Record {
            action: "make room for",
            path: store.directory.clone(),
            source,
        };
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&store.directory)
            .map_err(failed)?;
        for path in store.files()? {
            if path.to_string_lossy().ends_with(UNFINISHED) {
                fs_err::remove_file(&path).map_err(failed)?;
            } else if path
                .extension()
                .is_some_and(|extension| extension == orphan::EXTENSION)
            {
                orphan::end(&path).map_err(failed)?;
            } else {
                store.known().insert(path);
            }
        }
        Ok(store)
    }

    /// Writes a record over the one that is there. On return a power loss leaves this one or that one.
    pub(crate) fn put(&self, record: &Record) -> Result<(), Error> {
        let path = self.path(&record.attachment.id, &record.attachment.interface);
        let bytes = record.encode()?;
        let new = self.directory.join(format!(
            "{}{UNFINISHED}",
            path.file_name().unwrap_or_default().display()
        ));
        self.known().insert(path.clone());
        let write = || {
            let mut options = std::fs::OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            let first = !path.exists();
            fs_err::rename(&new, &path)?;
            // Of two whole ones either may be there after a power loss, which ends the attachment; but one must.
            if first {
                std::fs::File::open(&self.directory)?.sync_all()?;
            }
            Ok(())
        };
        write().map_err(|source| Error::Record {
            action: "write",
            path: path.clone(),
            source,
        })
    }

    /// The record, if there is one. One that cannot be read is set aside with an error in the log: nobody can do more.
    pub(crate) fn get(&self, id: &str, interface: &str) -> Result<Option<Record>, Error> {
        self.read(&self.path(id, interface))
    }

    /// Succeeds if there is none. After a power loss it may be there again: then it is of an attachment that is gone.
    pub(crate) fn remove(&self, id: &str, interface: &str) -> Result<(), Error> {
        let path = self.path(id, interface);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Record {
                action: "remove",
                path,
                source,
            }),
            _ => {
                self.known().remove(&path);
                Ok(())
            }
        }
    }

    /// Whether it is worth to look for a record.
    pub(crate) fn may_have(&self, id: &str, interface: &str) -> bool {
        self.known().contains(&self.path(id, interface))
    }

    /// All records.
    pub(crate) fn all(&self) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        for path in self.files()? {
            if path.extension().is_some_and(|extension| extension == "json") {
                records.extend(self.read(&path)?);
            }
        }
        Ok(records)
    }

    /// Where it is written that a plugin works for an attachment.
    pub(crate) fn mark(&self, attachment: &Attachment) -> PathBuf {
        let record = self.path(&attachment.id, &attachment.interface);
        record.with_extension(orphan::EXTENSION)
    }

    fn known(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        // The holder inserts or removes one.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, id: &str, interface: &str) -> PathBuf {
        self.directory.join(format!("{id}-{interface}.json"))
    }

    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        let list = || {
            let entries = fs_err::read_dir(&self.directory)?;
            entries
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<Vec<_>>>()
        };
        list().map_err(|source| Error::Record {
            action: "look for",
            path: self.directory.clone(),
            source,
        })
    }

    fn read(&self, path: &Path) -> Result<Option<Record>, Error> {
        let failed = |action| {
            move |source| Error::Record {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let bytes = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(found) if found.len() > LONGEST => Err("it is too long".to_owned()),
            _ => Ok(fs_err::read(path).map_err(failed("read"))?),
        };
        match bytes.and_then(|bytes| Record::decode(&bytes)) {
            Ok(record) => Ok(Some(record)),
            Err(reason) => {
                let error = Error::Record {
                    action: "understand",
                    path: path.to_owned(),
                    source: io::Error::other(reason),
                };
                tracing::error!(
                    error = chain(&error),
                    "what a network left behind stays: its record is set aside"
                );
                fs_err::rename(path, path.with_extension("unreadable")).map_err(failed("set aside"))?;
                Ok(None)
            }
        }
    }
}
