//! What a container mounts of the host: copied in the daemon's own mount namespace, which is the host's, and sent to the pod
//! init. Its mount namespace is a copy from when the sandbox was made: it sees later mounts only below those that the host
//! shares, and cannot give any back.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use auraed_pod_init::part;
use auraed_pod_init::protocol::{IdMappings, Mount, MountKind, Propagation};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statx};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::{Error, Sandbox, UserNamespace, launch};
use crate::sys;

/// Directories that are made for a missing source.
const MADE: u32 = 0o755;

/// Finds out what is wrong with a container's mounts before it is started: what contradicts itself, what nobody shares, a
/// part that an image does not have. Blocks.
///
/// # Errors
/// [`Error::Refused`].
pub fn check_mounts(mounts: &[Mount]) -> Result<(), Error> {
    for mount in mounts {
        check(mount)?;
        match &mount.kind {
            MountKind::Bind => {
                let source = rustix::fs::open(&mount.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
                // What is missing is made later.
                if let Ok(source) = source {
                    check_propagation(mount, source.as_fd())?;
                }
            }
            MountKind::Image { lowers } if !mount.sub_path.is_empty() => {
                check_part(lowers, &mount.sub_path)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// In the words of other runtimes.
fn check(mount: &Mount) -> Result<(), Error> {
    let refuse = |text: String| Err(Error::Refused(text));
    let source = mount.source.display();
    if mount.recursive_read_only && !mount.read_only {
        return refuse(format!(
            "recursive read-only mount conflicts with RW mount (hostPath={source})"
        ));
    }
    if mount.recursive_read_only && mount.propagation != Propagation::Private {
        return refuse(format!(
            "recursive read-only mount needs private propagation (hostPath={source})"
        ));
    }
    if let MountKind::Image { lowers } = &mount.kind {
        if !mount.read_only || lowers.is_empty() {
            return refuse(format!("the image on {} can only be read", mount.target));
        }
        if mount.propagation != Propagation::Private {
            return refuse(format!("nothing is mounted below the image on {}", mount.target));
        }
    }
    if mount.kind == MountKind::Bind && !mount.source.is_absolute() {
        return refuse(format!("{source} is not an absolute path"));
    }
    if !mount.sub_path.is_empty() && mount.propagation == Propagation::Bidirectional {
        return refuse(format!(
            "a part of a volume cannot be shared both ways: {}",
            mount.target
        ));
    }
    Ok(())
}

impl Sandbox {
    /// Copies what is the host's, and leaves what the pod init mounts itself. The copies are in the order of the mounts.
    pub(super) fn take_mounts(&self, mut mounts: Vec<Mount>) -> Result<(Vec<Mount>, Vec<OwnedFd>), Error> {
        let memory = self.inner.directory.join(launch::MEMORY);
        let mut taken = Vec::new();
        for mount in &mut mounts {
            check(mount)?;
            if mount.kind == MountKind::Bind && !mount.source.starts_with(&memory) {
                taken.push(self.take(mount)?);
                mount.kind = MountKind::Passed;
            }
        }
        Ok((mounts, taken))
    }

    fn take(&self, mount: &mut Mount) -> Result<OwnedFd, Error> {
        let refused = |tried: &str, error: io::Error| {
            let (source, target) = (mount.source.display(), &mount.target);
            Error::Refused(format!("cannot {tried} {source} for {target}: {error}"))
        };
        let place = if mount.sub_path.is_empty() {
            make_missing(&mount.source).map_err(|error| refused("make", error))?;
            rustix::fs::open(&mount.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        } else {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(&mount.source, flags, Mode::empty())
                .and_then(|volume| part::open(volume.as_fd(), &mount.sub_path))
        };
        let place = place.map_err(|error| refused("open", error.into()))?;
        check_propagation(mount, place.as_fd())?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let copy = open_tree(&place, "", flags).map_err(|error| refused("copy", error.into()))?;
        if let Some(mapping) = &mount.mapping {
            let users = self
                .users_of(mapping)
                .map_err(|error| refused("map the ids of", error))?;
            sys::map_mount(copy.as_fd(), users.as_fd()).map_err(|error| refused("map the ids of", error))?;
        }
        mount.mapping = None;
        Ok(copy)
    }

    /// A user namespace with these mappings: the sandbox's own or the last mount's, if they are the same.
    fn users_of(&self, mapping: &IdMappings) -> io::Result<UserNamespace> {
        let mut last = self.inner.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(users) if users.mappings() == mapping => Ok(users.clone()),
            _ => {
                let users = UserNamespace::create(&mapping.uids, &mapping.gids)?;
                Ok(last.insert(users).clone())
            }
        }
    }
}

fn make_missing(source: &Path) -> io::Result<()> {
    match fs_err::metadata(source) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::DirBuilder::new()
            .recursive(true)
            .mode(MADE)
            .create(source),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

/// Refuses to follow or to share mounts that nobody shares: later ones would be missing without a word.
fn check_propagation(mount: &Mount, place: BorrowedFd<'_>) -> Result<(), Error> {
    let (wanted, enough): (_, &[&str]) = match mount.propagation {
        Propagation::Private => return Ok(()),
        Propagation::HostToContainer => ("a shared or slave mount", &["shared:", "master:"]),
        Propagation::Bidirectional => ("a shared mount", &["shared:"]),
    };
    let source = &mount.source;
    let failed = |error: io::Error| {
        Error::Refused(format!(
            "cannot find out where {} is mounted: {error}",
            source.display()
        ))
    };
    let found = statx(place, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
    let id = found.map_err(|error| failed(error.into()))?.stx_mnt_id;
    let table = fs_err::read_to_string("/proc/thread-self/mountinfo").map_err(failed)?;
    let (place, optional) = find_mount(&table, id).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    if optional
        .iter()
        .any(|field| enough.iter().any(|tag| field.starts_with(tag)))
    {
        return Ok(());
    }
    let source = source.canonicalize().unwrap_or_else(|_| source.clone());
    Err(Error::Refused(format!(
        "path {:?} is mounted on {place:?} but it is not {wanted}",
        source.display().to_string()
    )))
}

/// Where a mount is, and its optional fields (proc_pid_mountinfo(5)).
fn find_mount(table: &str, id: u64) -> Option<(&str, Vec<&str>)> {
    table.lines().find_map(|line| {
        let mut fields = line.split(' ');
        if fields.next()?.parse() != Ok(id) {
            return None;
        }
        let place = fields.nth(3)?;
        Some((place, fields.skip(1).take_while(|field| *field != "-").collect()))
    })
}

/// Looks for a directory in the overlay that would be mounted, without mounting it anywhere.
fn check_part(lowers: &[PathBuf], part: &str) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Refused(format!("cannot look into an image: {error}"));
    let root = match lowers {
        [only] => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(only, flags, Mode::empty()).map_err(io::Error::from)
        }
        several => overlay(several),
    };
    let root = root.map_err(failed)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let part = match part.trim_start_matches('/') {
        "" => ".",
        part => part,
    };
    match openat2(&root, part, flags, Mode::empty(), resolve) {
        Ok(_) => Ok(()),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
            Err(Error::Refused(format!("the image has no directory {part:?}")))
        }
        Err(error) => Err(failed(error.into())),
    }
}

/// An overlay that is attached nowhere.
fn overlay(lowers: &[PathBuf]) -> io::Result<OwnedFd> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    };
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in lowers {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(lower, flags, Mode::empty())?;
        // A value is shorter than a path may be.
        let name = format!("/proc/self/fd/{}", opened.as_raw_fd());
        fsconfig_set_string(&context, "lowerdir+", name)?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounts_optional_fields_are_found() {
        let table = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
34 31 0:31 / /a\\040b rw,relatime shared:9 master:3 - cgroup cgroup rw,cpuset
";
        assert_eq!(find_mount(table, 31), Some(("/sys/fs/cgroup", vec![])));
        assert_eq!(
            find_mount(table, 34),
            Some(("/a\\040b", vec!["shared:9", "master:3"]))
        );
        assert_eq!(find_mount(table, 3), None);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let mount = |adjust: fn(&mut Mount)| {
            let mut mount = Mount {
                source: "/".into(),
                target: "/x".to_owned(),
                ..Mount::default()
            };
            adjust(&mut mount);
            check(&mount).map_err(|error| error.to_string())
        };
        assert_eq!(mount(|_| ()), Ok(()));
        assert_eq!(
            mount(|mount| mount.recursive_read_only = true),
            Err("recursive read-only mount conflicts with RW mount (hostPath=/)".to_owned())
        );
        assert_eq!(
            mount(|mount| {
                (mount.read_only, mount.recursive_read_only) = (true, true);
                mount.propagation = Propagation::HostToContainer;
            }),
            Err("recursive read-only mount needs private propagation (hostPath=/)".to_owned())
        );
        assert_eq!(
            mount(|mount| mount.kind = MountKind::Image {
                lowers: vec!["/".into()]
            }),
            Err("the image on /x can only be read".to_owned())
        );
        assert!(mount(|mount| mount.source = "relative".into()).is_err());
    }
}
