//! The mounts that a container's owner asked for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::mount::MountAttrFlags;

use super::late::{self, Late};
use super::layers::Layers;
use super::mount::{self, Opt};
use super::path::{self, Missing};
use super::users::Users;
use crate::fault::{Blame, Fault, Result};
use crate::protocol::{Container, Mount, MountKind, Propagation, Restrictions};
use crate::{part, sys};

/// Mounts everything into `root`, in order. `passed` are the detached mounts that came with the request. Returns what is left
/// for when /proc is there.
pub(crate) fn mount_all(
    root: BorrowedFd<'_>,
    container: &Container,
    passed: Vec<OwnedFd>,
    layers: &mut Layers<'_>,
) -> Result<Late> {
    let mut late = Late::default();
    let mut passed = passed.into_iter();
    for mount in &container.mounts {
        if mount.propagation == Propagation::Bidirectional && layers.users().is_some() {
            return Err(Fault::Container(format!(
                "mounts below {} cannot be shared both ways from a user namespace",
                mount.target
            )));
        }
        let source = match &mount.kind {
            MountKind::Bind => source(mount, layers.users())?,
            MountKind::Tmpfs { size_bytes, mode } => memory(*size_bytes, *mode)?,
            MountKind::Image { lowers } => layers.image(lowers, &mount.sub_path, &container.rootfs.work)?,
            MountKind::Passed => passed
                .next()
                .ok_or_else(|| Fault::Node(format!("the mount of {} did not arrive", mount.target)))?,
        };
        adjust(mount, source.as_fd())?;
        if late::concerns(&mount.target) {
            late.add(root, &mount.target, source)?;
        } else {
            attach(root, mount, source.as_fd())?;
        }
    }
    Ok(late)
}

/// A detached copy of the source.
fn source(mount: &Mount, users: Option<&Users<'_>>) -> Result<OwnedFd> {
    let copy = copy(mount)?;
    let tried = format_args!("map the ids of {} for {}", mount.source.display(), mount.target);
    match (&mount.mapping, users) {
        (None, _) => {}
        (Some(mapping), Some(users)) if mapping == users.mappings => {
            sys::map_mount(copy.as_fd(), users.namespace).blame_container(tried)?;
        }
        (Some(_), _) => return Err("it is not in the pod's user namespace").blame_container(tried),
    }
    Ok(copy)
}

fn copy(mount: &Mount) -> Result<OwnedFd> {
    let source = &mount.source;
    let copied = if mount.sub_path.is_empty() {
        mount::copy(source, true)
    } else {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(source, flags, Mode::empty())
            .and_then(|volume| part::open(volume.as_fd(), &mount.sub_path))
            .and_then(|part| mount::copy_of(part.as_fd(), true))
    };
    copied.blame_container(format_args!(
        "mount {} {} on {}",
        source.display(),
        mount.sub_path,
        mount.target
    ))
}

fn memory(size_bytes: Option<u64>, mode: u32) -> Result<OwnedFd> {
    let mode = format!("{mode:04o}");
    let size = size_bytes.map(|size| size.to_string());
    let mut options = vec![Opt::Value("mode", &mode)];
    options.extend(size.as_deref().map(|size| Opt::Value("size", size)));
    mount::make(
        "tmpfs",
        &options,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )
}

/// Makes a detached mount what its owner asked for.
fn adjust(mount: &Mount, source: BorrowedFd<'_>) -> Result<()> {
    let tried = format_args!("mount on {}", mount.target);
    let propagation = match mount.propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::HostToContainer => libc::MS_SLAVE,
        // The daemon took it from the host's own mount namespace, so that it is shared with that already.
        Propagation::Bidirectional => 0,
    };
    let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into();
    let everywhere = if mount.recursive_read_only { read_only } else { 0 };
    if propagation != 0 || everywhere != 0 {
        sys::set_mount_attributes(source, true, everywhere, propagation).blame_node(tried)?;
    }
    let here: u64 = attributes(mount).bits().into();
    if here != 0 {
        sys::set_mount_attributes(source, false, here, 0).blame_node(tried)?;
    }
    Ok(())
}

/// Of the mount itself, without those below.
fn attributes(mount: &Mount) -> MountAttrFlags {
    let Restrictions {
        no_set_user_id,
        no_devices,
        no_execution,
    } = mount.restrictions;
    let wanted = [
        (mount.read_only, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (no_set_user_id, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (no_devices, MountAttrFlags::MOUNT_ATTR_NODEV),
        (no_execution, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ];
    let wanted = wanted
        .into_iter()
        .filter_map(|(wanted, attribute)| wanted.then_some(attribute));
    wanted.fold(MountAttrFlags::empty(), |all, attribute| all | attribute)
}

fn attach(root: BorrowedFd<'_>, mount: &Mount, source: BorrowedFd<'_>) -> Result<()> {
    let tried = format_args!("mount on {}", mount.target);
    let stat = fstat(source).blame_node(tried)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let missing = if is_directory {
        Missing::Directory
    } else {
        Missing::File
    };
    let target = path::ensure(root, &mount.target, missing).blame_container(tried)?;
    mount::attach(source, target.as_fd()).blame_container(tried)
}
