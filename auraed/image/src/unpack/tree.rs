//! Paths of a layer, resolved below the descriptor of its root and nowhere else.
//!
//! Every lookup is one openat2(2) from the root with RESOLVE_BENEATH: the kernel refuses `..` and links that lead out,
//! and absolute links, at the moment of use. Names that are made or taken away are single components below a directory
//! that was opened so. The directories of the last entries stay open, since entries of one directory come in a row.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::UnpackError;
use super::limit;
use super::whiteout;

/// A path of an entry, split: no empty, `.` or `..` component, and each of legal length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryPath<'a> {
    components: Vec<&'a [u8]>,
}

/// The directory tree of a layer while it is made.
pub(super) struct Tree {
    root: OwnedFd,
    /// A directory beside the root that takes what is replaced; see [`Tree::take_away`].
    replaced: OwnedFd,
    taken_away: u64,
    /// Directories that were made for entries below them.
    made: u64,
    /// Directories that entries were made in, by the paths that led to them; the last one at the end.
    open: Vec<(Vec<u8>, OwnedFd)>,
    opaque: bool,
    implied: HashSet<Vec<u8>>,
    implied_bytes: usize,
}

/// What stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

/// Directories that stay open.
const OPEN: usize = 8;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl<'a> EntryPath<'a> {
    /// Leading slashes are dropped, as tar does. `entry` names the entry in the error.
    pub(super) fn parse(path: &'a [u8], entry: &[u8]) -> Result<EntryPath<'a>, UnpackError> {
        if path.contains(&0) {
            return Err(UnpackError::refused(entry, "its path holds a NUL byte"));
        }
        let mut components = Vec::new();
        for component in path.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(UnpackError::refused(entry, "its path holds \"..\"")),
                _ if component.len() > limit::NAME => {
                    return Err(UnpackError::refused(
                        entry,
                        "a component of its path is longer than 255 bytes",
                    ));
                }
                _ => components.push(component),
            }
        }
        Ok(EntryPath { components })
    }

    /// The parent and the last component; `None` for the root.
    pub(super) fn split(&self) -> Option<(EntryPath<'a>, &'a [u8])> {
        let (name, parents) = self.components.split_last()?;
        Some((
            EntryPath {
                components: parents.to_vec(),
            },
            name,
        ))
    }

    pub(super) fn components(&self) -> &[&'a [u8]] {
        &self.components
    }

    /// Joined with one more name.
    pub(super) fn join(&self, name: &[u8]) -> Vec<u8> {
        let mut components = self.components.clone();
        components.push(name);
        components.join(&b'/')
    }

    /// Joined with slashes; empty for the root.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.components.join(&b'/')
    }
}

impl Tree {
    pub(super) fn new(root: OwnedFd, replaced: OwnedFd) -> Tree {
        let implied = HashSet::from([Vec::new()]);
        Tree {
            root,
            replaced,
            taken_away: 0,
            made: 0,
            open: Vec::new(),
            opaque: false,
            implied,
            implied_bytes: 0,
        }
    }

    pub(super) fn into_implied(self) -> HashSet<Vec<u8>> {
        self.implied
    }

    /// How many directories were made for entries below them.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// Whether a directory is reached without a link.
    pub(super) fn is_real(&self, path: &EntryPath<'_>) -> bool {
        open_beneath(
            self.root.as_fd(),
            &path.bytes(),
            DIRECTORY,
            ResolveFlags::NO_SYMLINKS,
        )
        .is_ok()
    }

    /// The layer has an entry for this directory: its metadata is not made up.
    pub(super) fn set_explicit(&mut self, path: &[u8]) {
        self.implied.remove(path);
    }

    /// Opens a directory, making it and its parents where there is nothing.
    pub(super) fn open_parent(
        &mut self,
        path: &EntryPath<'_>,
        entry: &[u8],
    ) -> Result<BorrowedFd<'_>, UnpackError> {
        let bytes = path.bytes();
        match self.open.iter().rposition(|(open, _)| *open == bytes) {
            Some(last) if last + 1 == self.open.len() => {}
            Some(index) => self.open[index..].rotate_left(1),
            None => {
                let directory = match self.open(&bytes, DIRECTORY) {
                    Ok(directory) => directory,
                    Err(Errno::NOENT | Errno::NOTDIR) => self.make_directories(path, entry)?,
                    Err(errno) => return Err(resolve_error(entry, errno)),
                };
                self.keep_open(path, directory);
            }
        }
        match self.open.last() {
            Some((_, directory)) => Ok(directory.as_fd()),
            None => Err(UnpackError::refused(entry, "it has no parent")),
        }
    }

    /// Entries of one directory come in a row, and those of its parent after them.
    pub(super) fn keep_open(&mut self, path: &EntryPath<'_>, directory: OwnedFd) {
        let bytes = path.bytes();
        self.open.retain(|(open, _)| *open != bytes);
        if self.open.len() == OPEN {
            self.open.remove(0);
        }
        self.open.push((bytes, directory));
    }

    /// Hides what lower layers have in a directory; `name` may be `.`.
    pub(super) fn set_opaque(
        &mut self,
        parents: &EntryPath<'_>,
        name: &[u8],
        entry: &[u8],
    ) -> Result<(), UnpackError> {
        self.opaque = true;
        whiteout::set_opaque(self.open_parent(parents, entry)?, name, entry)
    }

    /// Whether there is such a directory.
    pub(super) fn has_opaque(&self) -> bool {
        self.opaque
    }

    /// Opens an existing directory for what needs more than a path descriptor.
    pub(super) fn open_directory(&self, path: &EntryPath<'_>) -> Result<OwnedFd, Errno> {
        self.open(
            &path.bytes(),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        )
    }

    /// Opens the directory that a link's target is in, where there is one.
    pub(super) fn open_existing(&self, path: &EntryPath<'_>) -> Result<OwnedFd, Errno> {
        self.open(&path.bytes(), DIRECTORY)
    }

    /// Takes away what stands at `name`, so that something else can. A directory is moved out of the root, as
    /// removing it could take as long and go as deep as a hostile layer likes; the whole of `replaced` goes at the end.
    pub(super) fn take_away(
        &mut self,
        path: &EntryPath<'_>,
        name: &[u8],
        present: Present,
        entry: &[u8],
    ) -> Result<(), UnpackError> {
        let parent = self.open_parent(path, entry)?;
        match present {
            Present::Nothing => {}
            Present::Whiteout | Present::Other => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty())
                    .map_err(|errno| UnpackError::io("replace", entry, errno))?;
                // It may have been a symlink on the way to the open directory.
                self.open.clear();
            }
            Present::Directory => {
                let parent = parent
                    .try_clone_to_owned()
                    .map_err(|error| UnpackError::io("replace", entry, error))?;
                self.taken_away += 1;
                if self.taken_away > limit::REPLACED_DIRECTORIES {
                    return Err(UnpackError::refused(
                        entry,
                        "the layer replaces too many directories",
                    ));
                }
                rustix::fs::renameat(&parent, name, &self.replaced, self.taken_away.to_string())
                    .map_err(|errno| UnpackError::io("replace", entry, errno))?;
                self.open.clear();
                self.forget_implied_below(path, name);
            }
        }
        Ok(())
    }

    fn forget_implied_below(&mut self, parent: &EntryPath<'_>, name: &[u8]) {
        let prefix = parent.join(name);
        self.implied
            .retain(|path| match path.strip_prefix(prefix.as_slice()) {
                Some(rest) => !(rest.is_empty() || rest.starts_with(b"/")),
                None => true,
            });
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        open_beneath(self.root.as_fd(), path, flags, ResolveFlags::empty())
    }

    fn make_directories(&mut self, path: &EntryPath<'_>, entry: &[u8]) -> Result<OwnedFd, UnpackError> {
        let mut current = self
            .open(b"", DIRECTORY)
            .map_err(|errno| resolve_error(entry, errno))?;
        for depth in 1..=path.components.len() {
            let prefix = EntryPath {
                components: path.components[..depth].to_vec(),
            };
            current = match self.open(&prefix.bytes(), DIRECTORY) {
                Ok(directory) => directory,
                Err(Errno::NOENT | Errno::NOTDIR) => self.make_directory(&current, &prefix, entry)?,
                Err(errno) => return Err(resolve_error(entry, errno)),
            };
        }
        Ok(current)
    }

    /// Makes a directory that an entry needs but the layer does not (or not yet) describe.
    fn make_directory(
        &mut self,
        parent: &OwnedFd,
        path: &EntryPath<'_>,
        entry: &[u8],
    ) -> Result<OwnedFd, UnpackError> {
        let name = path.components.last().copied().unwrap_or_default();
        let present =
            present(parent.as_fd(), name).map_err(|errno| UnpackError::io("look up", entry, errno))?;
        match present {
            Present::Nothing => {}
            // Deleted below, and made anew here.
            Present::Whiteout => rustix::fs::unlinkat(parent, name, AtFlags::empty())
                .map_err(|errno| UnpackError::io("replace", entry, errno))?,
            Present::Directory => return Err(UnpackError::refused(entry, "a parent cannot be opened")),
            Present::Other => return Err(UnpackError::refused(entry, "a parent of it is not a directory")),
        }
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
            .and_then(|()| rustix::fs::chmodat(parent, name, Mode::from_raw_mode(0o755), AtFlags::empty()))
            .map_err(|errno| UnpackError::io("create a parent of", entry, errno))?;
        if present == Present::Whiteout {
            self.opaque = true;
            whiteout::set_opaque(parent.as_fd(), name, entry)?;
        }
        self.made += 1;
        // One that was deleted is made anew, with nothing of the old one.
        if present != Present::Whiteout {
            self.remember_implied(path, entry)?;
        }
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        rustix::fs::openat(parent, name, flags, Mode::empty())
            .map_err(|errno| UnpackError::io("open a parent of", entry, errno))
    }

    /// Reached through a symlink of this layer the directory has another real path, which is not looked for: a lower
    /// layer's directory of that name cannot be seen through the symlink either.
    fn remember_implied(&mut self, path: &EntryPath<'_>, entry: &[u8]) -> Result<(), UnpackError> {
        let bytes = path.bytes();
        if self.is_real(path) {
            self.implied_bytes += bytes.len() + limit::REMEMBERED_EACH;
            if self.implied_bytes > limit::REMEMBERED {
                return Err(UnpackError::refused(entry, "the layer has too many directories"));
            }
            self.implied.insert(bytes);
        }
        Ok(())
    }
}

/// What stands at one name of a directory, without following it.
pub(super) fn present(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Present, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Present::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 => Present::Whiteout,
            _ => Present::Other,
        }),
        Err(Errno::NOENT) => Ok(Present::Nothing),
        Err(errno) => Err(errno),
    }
}

/// Opens a path that never leaves `root`. A `..` in a link makes the kernel answer EAGAIN whenever anything on the
/// machine is renamed or mounted meanwhile (openat2(2)), so it is asked again.
pub(crate) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    const TRIES: u32 = 1000;
    let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let path = if path.is_empty() { b"." } else { path };
    for _ in 1..TRIES {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

pub(super) fn resolve_error(entry: &[u8], errno: Errno) -> UnpackError {
    match errno {
        Errno::XDEV => UnpackError::refused(entry, "a link in its path leads out of the layer"),
        Errno::LOOP => UnpackError::refused(entry, "its path has too many links"),
        Errno::NAMETOOLONG => UnpackError::refused(entry, "its path is too long"),
        errno => UnpackError::io("look up", entry, io::Error::from(errno)),
    }
}
