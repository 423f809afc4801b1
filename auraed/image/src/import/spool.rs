//! The files of an archive, on disk under numbers, whatever they are called in it.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use super::{ArchiveError, file_error};
use crate::Digest;
use crate::document::{self, LIMIT};
use crate::error::Failure;
use crate::layer::{Ingest, inflate, remove_tree};
use crate::unpack::{Archive, Entry, EntryKind};

/// Files of an archive: documents and layers.
const FILES: u64 = 100_000;
/// Their names, in bytes altogether.
const NAMES: usize = 16 * 1024 * 1024;
/// Symlinks from one file of an archive to another.
const LINKS: usize = 8;

/// A spooled archive. Its files are removed when it is dropped, which blocks.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    /// Files that were written, each with its own number.
    written: u64,
    /// Bytes of names, also of those that came before.
    names: usize,
    files: HashMap<String, (PathBuf, u64)>,
    /// Old dockers write a layer that comes twice as a symlink.
    links: HashMap<String, String>,
}

impl Spool {
    /// Reads an archive, plain or compressed, to its end. Blocks.
    pub(crate) fn receive(reader: impl Read, ingest: &Ingest) -> Result<Spool, Failure> {
        let directory = ingest.fresh();
        fs_err::create_dir(&directory).map_err(file_error(&directory))?;
        let mut spool = Spool {
            directory,
            written: 0,
            names: 0,
            files: HashMap::new(),
            links: HashMap::new(),
        };
        let inflated = inflate(reader).map_err(ArchiveError::Receive)?;
        let mut archive = Archive::new(BufReader::with_capacity(256 * 1024, inflated));
        while let Some(entry) = archive.next_entry().map_err(ArchiveError::Tar)? {
            spool.take(&entry, &mut archive)?;
        }
        Ok(spool)
    }

    fn take(&mut self, entry: &Entry, archive: &mut impl Read) -> Result<(), Failure> {
        let name = clean(&String::from_utf8_lossy(&entry.path));
        self.names += name.len() + entry.link.len();
        if self.names > NAMES {
            return Err(ArchiveError::Refused(format!("its names have more than {NAMES} bytes")).into());
        }
        match entry.kind {
            EntryKind::File if entry.sparse.is_some() => {
                return Err(ArchiveError::Refused(format!("its file {name:?} is sparse")).into());
            }
            EntryKind::File => {}
            EntryKind::Symlink => {
                let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
                let target = clean(&format!("{parent}/{}", String::from_utf8_lossy(&entry.link)));
                self.links.insert(name, target);
                return self.check_count();
            }
            EntryKind::HardLink => {
                self.links
                    .insert(name, clean(&String::from_utf8_lossy(&entry.link)));
                return self.check_count();
            }
            // Nothing else is part of an image.
            _ => return Ok(()),
        }
        let path = self.directory.join(self.written.to_string());
        self.written += 1;
        let mut file = fs_err::File::create(&path).map_err(file_error(&path))?;
        copy(archive, &mut file, &path)?;
        // A name that comes twice is what it was last, as for tar.
        self.files.insert(name, (path, entry.size));
        self.check_count()
    }

    fn check_count(&self) -> Result<(), Failure> {
        let count = self.written + self.links.len() as u64;
        if count > FILES {
            Err(ArchiveError::TooMany(FILES).into())
        } else {
            Ok(())
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Where a file of the archive is, and how long it is.
    pub(super) fn find(&self, name: &str) -> Result<(&Path, u64), ArchiveError> {
        let mut current = clean(name);
        for _ in 0..LINKS {
            if let Some((path, size)) = self.files.get(&current) {
                return Ok((path, *size));
            }
            match self.links.get(&current) {
                Some(target) => current.clone_from(target),
                None => break,
            }
        }
        Err(ArchiveError::Missing {
            path: name.chars().take(300).collect(),
        })
    }

    /// Reads a document whole.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let (path, size) = self.find(name)?;
        if size > LIMIT {
            return Err(ArchiveError::TooLarge {
                path: name.to_owned(),
                limit: LIMIT,
            }
            .into());
        }
        fs_err::read(path).map_err(file_error(path))
    }

    /// Reads a document by its digest, and checks it.
    pub(super) fn document(&self, what: &'static str, digest: &Digest) -> Result<Vec<u8>, Failure> {
        let bytes = self.read(&blob_name(digest))?;
        document::check(what, digest, &bytes)?;
        Ok(bytes)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.directory) {
            tracing::warn!(%error, "cannot remove a spooled archive; the next start of the daemon tries again");
        }
    }
}

/// The name of a blob in an OCI image layout.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}", digest.as_str().replace(':', "/"))
}

fn copy(archive: &mut impl Read, file: &mut fs_err::File, path: &Path) -> Result<(), Failure> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = match archive.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ArchiveError::Receive(error).into()),
        };
        file.write_all(&buffer[..read])
            .map_err(file_error(path.parent().unwrap_or(path)))?;
    }
}

/// A name without empty and `.` components, `..` resolved by the text alone: these are keys, not paths.
fn clean(name: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in name.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            component => components.push(component),
        }
    }
    components.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_by_their_text() {
        for (name, expected) in [
            ("./a//b", "a/b"),
            ("/a/../b", "b"),
            ("../../etc/passwd", "etc/passwd"),
            ("a/./b/", "a/b"),
            ("", ""),
        ] {
            assert_eq!(clean(name), expected);
        }
    }

    #[test]
    fn names_are_bounded() {
        let mut bytes = Vec::new();
        let mut name = tar::Header::new_gnu();
        name.set_entry_type(tar::EntryType::GNULongName);
        name.set_size(4096);
        name.set_cksum();
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        link.set_cksum();
        for number in 0..NAMES / 4000 {
            bytes.extend(name.as_bytes());
            let mut text = format!("{number}-").into_bytes();
            text.resize(4095, b'n');
            bytes.extend(text.iter().chain(&[0]));
            bytes.extend(link.as_bytes());
        }
        let directory = tempfile::tempdir().unwrap();
        let ingest = Ingest::open(directory.path().join("ingest")).unwrap();
        let refused = Spool::receive(bytes.as_slice(), &ingest).unwrap_err();
        assert!(refused.to_string().contains("its names"), "{refused}");
    }
}
