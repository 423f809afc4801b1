//! What directories take on the disk.
//!
//! Layers are counted while they are unpacked, so that nobody has to look at them again. What programs write is
//! measured by [`Usage::measure`], which looks at each file, as there is no cheaper way to know.

use std::collections::HashSet;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::{fmt, io};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Bytes and inodes on a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// In whole blocks of the file system.
    pub bytes: u64,
    /// Files, directories and all else that has an inode.
    pub inodes: u64,
}

/// What the file systems that take layers hand out at a time: ext4, xfs, btrfs and tmpfs have blocks of 4 KiB.
const BLOCK: u64 = 4096;

impl Usage {
    /// One inode with so many bytes of content.
    pub(crate) fn inode(bytes: u64) -> Usage {
        Usage {
            bytes: bytes.saturating_add(BLOCK - 1) / BLOCK * BLOCK,
            inodes: 1,
        }
    }

    /// Measures everything below a directory, and the directory itself; files with several names once. It stops with
    /// what it has after `most` entries, or fewer where they lie very deep, so that whoever makes files faster than they
    /// can be counted does not keep it busy for ever. What vanishes meanwhile is not counted; mounts are not entered.
    /// Blocks.
    ///
    /// # Errors
    /// The directory itself, or one below it, cannot be read.
    pub fn measure(directory: &Path, most: u64) -> io::Result<Usage> {
        let root = rustix::fs::open(directory, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        let mut walk = Walk::new(&rustix::fs::fstat(&root)?, most);
        walk.read(&root, &[])?;
        while let Some(path) = walk.next() {
            match open(&root, &path) {
                Ok(directory) => walk.read(&directory, &path)?,
                // Gone, or something else by now.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(walk.usage)
    }
}

/// Bytes of paths that wait.
const MOST_WAITING_BYTES: usize = 64 * 1024 * 1024;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Directories are remembered by their paths, not by descriptors: a program makes them deeper than a process has any.
struct Walk {
    usage: Usage,
    device: u64,
    left: u64,
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
    /// Inodes with several names that were seen.
    seen: HashSet<u64>,
}

impl Walk {
    fn new(root: &Stat, most: u64) -> Walk {
        Walk {
            usage: allocated(root),
            device: root.st_dev,
            left: most,
            waiting: Vec::new(),
            waiting_bytes: 0,
            seen: HashSet::new(),
        }
    }

    /// The next directory to read. The way to a deep one costs the kernel as much as some entries.
    fn next(&mut self) -> Option<Vec<u8>> {
        let path = self.waiting.pop()?;
        self.waiting_bytes -= path.len();
        self.left = self.left.saturating_sub(path.len() as u64 / 64);
        (self.left > 0).then_some(path)
    }

    fn read(&mut self, directory: &OwnedFd, path: &[u8]) -> io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if self.left == 0 || self.waiting_bytes > MOST_WAITING_BYTES {
                self.left = 0;
                return Ok(());
            }
            self.left -= 1;
            let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if stat.st_dev != self.device
                || (!is_directory && stat.st_nlink > 1 && !self.seen.insert(stat.st_ino))
            {
                continue;
            }
            self.usage += allocated(&stat);
            if is_directory {
                let mut below = Vec::with_capacity(path.len() + name.count_bytes() + 1);
                below.extend_from_slice(path);
                below.extend_from_slice(name.to_bytes());
                below.push(b'/');
                self.waiting_bytes += below.len();
                self.waiting.push(below);
            }
        }
        Ok(())
    }
}

/// st_blocks are of 512 bytes, whatever the file system's are: stat(2).
fn allocated(stat: &Stat) -> Usage {
    Usage {
        bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
        inodes: 1,
    }
}

/// Opens a path of any length, a part at a time.
fn open(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    /// Below PATH_MAX.
    const PART: usize = 4000;
    let mut rest = path;
    let mut current: Option<OwnedFd> = None;
    while !rest.is_empty() {
        let end = match rest.get(..PART) {
            // A name is at most 255 bytes, so there is a slash.
            Some(part) => part
                .iter()
                .rposition(|byte| *byte == b'/')
                .map_or(PART, |slash| slash + 1),
            None => rest.len(),
        };
        let (part, after) = rest.split_at(end);
        let from = current.as_ref().unwrap_or(root).as_fd();
        current = Some(open_part(from, part)?);
        rest = after;
    }
    current.ok_or(Errno::NOENT)
}

fn open_part(from: std::os::fd::BorrowedFd<'_>, part: &[u8]) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(from, part, DIRECTORY, Mode::empty(), resolve)
}

impl Add for Usage {
    type Output = Usage;

    fn add(self, other: Usage) -> Usage {
        Usage {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        *self = *self + other;
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Usage>>(usages: I) -> Usage {
        usages.fold(Usage::default(), Add::add)
    }
}

/// As it is kept beside a layer: bytes, a space, inodes.
impl fmt::Display for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.bytes, self.inodes)
    }
}

impl Usage {
    /// The opposite of its display.
    pub(crate) fn parse(text: &str) -> Option<Usage> {
        let (bytes, inodes) = text.trim_end().split_once(' ')?;
        Some(Usage {
            bytes: bytes.parse().ok()?,
            inodes: inodes.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 1_000_000;

    #[test]
    fn files_are_counted_once_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let empty = Usage::measure(directory.path(), MOST).unwrap();
        assert_eq!(empty.inodes, 1);
        fs_err::create_dir_all(directory.path().join("a/b")).unwrap();
        fs_err::write(directory.path().join("a/b/file"), vec![1; 10_000]).unwrap();
        fs_err::hard_link(directory.path().join("a/b/file"), directory.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/", directory.path().join("out")).unwrap();
        let usage = Usage::measure(directory.path(), MOST).unwrap();
        assert_eq!(usage.inodes, 5);
        assert!((10_000..64_000).contains(&usage.bytes), "{usage}");
        assert_eq!(Usage::parse(&usage.to_string()), Some(usage));
    }

    #[test]
    fn a_tree_deeper_than_a_path_can_be_is_measured_and_a_wide_one_to_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let mut current = rustix::fs::open(directory.path(), DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            for name in ["deep", "side"] {
                rustix::fs::mkdirat(&current, name, Mode::RWXU).unwrap();
            }
            current = rustix::fs::openat(&current, "deep", DIRECTORY, Mode::empty()).unwrap();
        }
        assert_eq!(Usage::measure(directory.path(), MOST).unwrap().inodes, 6001);
        assert!(Usage::measure(directory.path(), 100).unwrap().inodes <= 101);
        crate::layer::remove_tree(&directory.path().join("deep")).unwrap();
    }
}
