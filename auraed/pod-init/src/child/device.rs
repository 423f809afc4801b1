//! A container's /dev: a small file system in memory with the few devices that every program expects.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, makedev, mkdirat, mknodat, open, openat, statat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::mount::{self, LOCKED, Opt};
use super::path::{self, Missing};
use super::users::Users;
use crate::fault::{Blame, Result};
use crate::protocol::DeviceNode;

/// Name, major and minor number (Documentation/admin-guide/devices.txt).
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The group `tty`, by the convention that devpts goes by.
const TTY_GROUP: u32 = 5;

/// A directory of the host's /dev that holds more directories than this is not looked into.
const MAX_DEPTH: u32 = 4;

/// What of the host's /dev a privileged container does not get: it has its own, or none.
const OWN: [&str; 7] = ["pts", "shm", "mqueue", "console", "ptmx", "fd", "hugepages"];

/// Mounts /dev and what belongs in it. `shm` is what the containers of the pod share, none: the host's.
pub(crate) fn populate(
    root: BorrowedFd<'_>,
    shm: &Path,
    host_devices: bool,
    users: Option<Users<'_>>,
) -> Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let options = [Opt::Value("mode", "0755"), Opt::Value("size", "65536k")];
    let dev = mount::make("tmpfs", &options, attributes)?;
    make_nodes(dev.as_fd()).blame_node("make /dev")?;
    if host_devices {
        copy_host_devices(dev.as_fd()).blame_node("copy the host's devices")?;
    }
    super::tree::attach_at(root, dev.as_fd(), "/dev")?;
    let pts = terminals(users)?;
    place(dev.as_fd(), "pts", &pts)?;
    place(dev.as_fd(), "mqueue", &mount::make("mqueue", &[], LOCKED)?)?;
    let shm = mount::copy(shm, false).blame_node(format_args!("copy {}", shm.display()))?;
    place(dev.as_fd(), "shm", &shm)?;
    Ok(pts)
}

/// The container's own terminals.
fn terminals(users: Option<Users<'_>>) -> Result<OwnedFd> {
    let group = match users {
        Some(users) => users.mappings.host_gid(TTY_GROUP),
        None => Some(TTY_GROUP),
    };
    let group = group.map(|group| group.to_string());
    let mut options = vec![
        Opt::Flag("newinstance"),
        Opt::Value("ptmxmode", "0666"),
        Opt::Value("mode", "0620"),
    ];
    options.extend(group.as_deref().map(|group| Opt::Value("gid", group)));
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    mount::make("devpts", &options, attributes)
}

fn make_nodes(dev: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    for (name, major, minor) in DEVICES {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(dev, name, FileType::CharacterDevice, mode, makedev(major, minor))?;
    }
    for (name, target) in LINKS {
        symlinkat(target, dev, name)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
    }
    Ok(())
}

fn place(dev: BorrowedFd<'_>, name: &str, mount: &OwnedFd) -> Result<()> {
    let target =
        path::open_without_links(dev, name, OFlags::PATH).blame_node(format_args!("open /dev/{name}"))?;
    mount::attach(mount.as_fd(), target.as_fd()).blame_node(format_args!("mount /dev/{name}"))
}

/// Puts the container's terminal at /dev/console.
pub(crate) fn place_console(root: BorrowedFd<'_>, terminal: BorrowedFd<'_>) -> Result<()> {
    let target = path::ensure(root, "/dev/console", Missing::File).blame_node("make /dev/console")?;
    let copy = mount::copy_of(terminal, false).blame_node("copy the terminal")?;
    mount::attach(copy.as_fd(), target.as_fd()).blame_node("mount /dev/console")
}

/// Makes the device nodes that the container was given.
pub(crate) fn make(root: BorrowedFd<'_>, nodes: &[DeviceNode]) -> Result<()> {
    nodes.iter().try_for_each(|node| {
        make_one(root, node).blame_container(format_args!("make the device {}", node.path))
    })
}

fn make_one(root: BorrowedFd<'_>, node: &DeviceNode) -> std::result::Result<(), Errno> {
    let (parent, name) = node.path.rsplit_once('/').ok_or(Errno::INVAL)?;
    if name.is_empty() || name == "." || name == ".." {
        return Err(Errno::INVAL);
    }
    let parent = if parent.is_empty() { "/" } else { parent };
    let parent = path::ensure(root, parent, Missing::Directory)?;
    let (kind, mode) = (FileType::from_raw_mode(node.mode), Mode::from_raw_mode(node.mode));
    let number = makedev(node.major, node.minor);
    let made = mknodat(&parent, name, kind, mode, number);
    if made == Err(Errno::EXIST) {
        // One of those that every container has, or what the image has there: the caller's is the one to be seen.
        unlinkat(&parent, name, AtFlags::empty())?;
        mknodat(&parent, name, kind, mode, number)?;
    } else {
        made?;
    }
    let (owner, group) = (
        rustix::fs::Uid::from_raw(node.uid),
        rustix::fs::Gid::from_raw(node.gid),
    );
    rustix::fs::chownat(&parent, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
}

fn copy_host_devices(dev: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    let host = open(
        "/dev",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    copy_directory(host.as_fd(), dev, MAX_DEPTH)
}

/// Copies device nodes, and links, which udev makes many of. What vanishes meanwhile is not there.
fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> std::result::Result<(), Errno> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name == "." || name == ".." || (depth == MAX_DEPTH && OWN.contains(&name)) {
            continue;
        }
        match copy_entry(from, to, name, depth) {
            Ok(()) | Err(Errno::NOENT | Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &str,
    depth: u32,
) -> std::result::Result<(), Errno> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    match FileType::from_raw_mode(stat.st_mode) {
        kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
            mknodat(to, name, kind, mode, stat.st_rdev)?;
            let (owner, group) = (
                rustix::fs::Uid::from_raw(stat.st_uid),
                rustix::fs::Gid::from_raw(stat.st_gid),
            );
            rustix::fs::chownat(to, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        }
        FileType::Symlink => symlinkat(rustix::fs::readlinkat(from, name, Vec::new())?, to, name),
        FileType::Directory if depth > 0 => {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = openat(from, name, flags, Mode::empty())?;
            mkdirat(to, name, mode)?;
            let made = openat(to, name, flags, Mode::empty())?;
            copy_directory(inner.as_fd(), made.as_fd(), depth - 1)
        }
        _ => Ok(()),
    }
}
