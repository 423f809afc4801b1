//! Paths inside a container's root, which its image and its volumes made and which are not to be trusted.
//!
//! Every lookup is one openat2(2) that cannot leave the root, whatever symbolic links are on the way and whoever
//! exchanges them meanwhile.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;
/// openat2 gives up with EAGAIN when a directory on the way was moved meanwhile; see openat2(2).
const MAX_TRIES: u32 = 128;

/// What [`ensure`] makes at the end of a missing path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Directory,
    File,
}

/// Opens `path` with the container's links resolved inside `root`.
pub(crate) fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    resolve(
        root,
        path,
        flags,
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Opens `path` if there is no symbolic link on the way.
pub(crate) fn open_without_links(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    resolve(
        root,
        path,
        flags,
        ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
    )
}

/// Opens a relative `path` if it stays below `directory`; a link that leaves it is an error (EXDEV).
pub(crate) fn open_beneath(directory: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    resolve(
        directory,
        path,
        flags,
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
}

fn resolve(root: BorrowedFd<'_>, path: &str, flags: OFlags, how: ResolveFlags) -> Result<OwnedFd, Errno> {
    let path = match path.trim_start_matches('/') {
        "" => ".",
        path => path,
    };
    for _ in 0..MAX_TRIES {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens `path` inside `root` (`O_PATH`), making what is missing: directories 0755 and at the end what `missing` says.
pub(crate) fn ensure(root: BorrowedFd<'_>, path: &str, missing: Missing) -> Result<OwnedFd, Errno> {
    match open(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => make(root, path, missing),
        result => result,
    }
}

/// Walks `path` with every link read by us, so that missing parts are made where a link points to. Each step starts from
/// the root again, through a path without links.
fn make(root: BorrowedFd<'_>, path: &str, missing: Missing) -> Result<OwnedFd, Errno> {
    let mut rest: VecDeque<String> = path.split('/').map(str::to_owned).collect();
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                done.pop();
                continue;
            }
            _ => {}
        }
        let parent = open_without_links(root, &done.join("/"), OFlags::PATH | OFlags::DIRECTORY)?;
        match step(parent.as_fd(), &name, rest.is_empty(), missing)? {
            Some(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                if target.starts_with('/') {
                    done.clear();
                }
                target
                    .split('/')
                    .rev()
                    .for_each(|part| rest.push_front(part.to_owned()));
            }
            None => done.push(name),
        }
    }
    open_without_links(root, &done.join("/"), OFlags::PATH)
}

/// Makes `name` in `parent` if it is missing. Returns where it points to if it is a link.
fn step(parent: BorrowedFd<'_>, name: &str, last: bool, missing: Missing) -> Result<Option<String>, Errno> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
            let target = readlinkat(parent, name, Vec::new())?;
            return target.into_string().map(Some).map_err(|_| Errno::ILSEQ);
        }
        Ok(_) => return Ok(None),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let made = if last && missing == Missing::File {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
    } else {
        mkdirat(parent, name, Mode::from_raw_mode(0o755))
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn root(directory: &Path) -> OwnedFd {
        rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    fn path_of(descriptor: &OwnedFd) -> String {
        use std::os::fd::AsRawFd;
        let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        std::fs::read_link(link)
            .unwrap()
            .into_os_string()
            .into_string()
            .unwrap()
    }

    #[test]
    fn links_stay_inside_the_root_and_missing_parts_are_made_there() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("root");
        std::fs::create_dir(&inner).unwrap();
        symlink("../../outside", inner.join("up")).unwrap();
        symlink("/run", inner.join("var")).unwrap();
        let root = root(&inner);
        let inner = inner.canonicalize().unwrap().display().to_string();
        for (path, expected) in [
            ("/up/a", "outside/a"),
            ("/var/secrets/token", "run/secrets/token"),
            ("../../../etc/x", "etc/x"),
            ("/", ""),
        ] {
            let opened = ensure(root.as_fd(), path, Missing::Directory).unwrap();
            assert_eq!(
                path_of(&opened),
                format!("{inner}/{expected}").trim_end_matches('/')
            );
        }
        assert!(!outer.path().join("outside").exists());
    }

    #[test]
    fn a_missing_file_is_made_as_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let root = root(directory.path());
        ensure(root.as_fd(), "/etc/hosts", Missing::File).unwrap();
        assert!(directory.path().join("etc/hosts").is_file());
    }

    #[test]
    fn a_loop_of_links_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        symlink("b", directory.path().join("a")).unwrap();
        symlink("a", directory.path().join("b")).unwrap();
        let root = root(directory.path());
        assert_eq!(
            ensure(root.as_fd(), "/a/x", Missing::Directory).unwrap_err(),
            Errno::LOOP
        );
    }

    #[test]
    fn beneath_refuses_what_leaves_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        symlink("/etc", directory.path().join("out")).unwrap();
        let root = root(directory.path());
        assert_eq!(
            open_beneath(root.as_fd(), "out/passwd", OFlags::PATH).unwrap_err(),
            Errno::XDEV
        );
        assert_eq!(
            open_beneath(root.as_fd(), "../x", OFlags::PATH).unwrap_err(),
            Errno::XDEV
        );
    }
}
