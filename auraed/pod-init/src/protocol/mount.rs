//! A container's root file system and what is mounted into it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An overlay of image layers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rootfs {
    /// Lower directories, the top layer first.
    pub lowers: Vec<PathBuf>,
    /// What the container writes; made if missing.
    pub upper: PathBuf,
    /// Overlay's own directory beside `upper`, new and empty; made if missing.
    pub work: PathBuf,
    /// Nothing can be written outside of mounts.
    pub read_only: bool,
}

/// Something mounted into a container's root.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Mount {
    /// A path of the host (or of one of the pod's memory volumes), for [`MountKind::Bind`]; links are followed. What is
    /// missing is made as a directory.
    pub source: PathBuf,
    /// A relative path inside `source` that never leaves it, made as a directory if missing; empty: all of it. Inside an
    /// image its links lead no further than the image's root, and nothing is made.
    #[serde(default)]
    pub sub_path: String,
    /// An absolute path inside the container, resolved inside its root; made if missing.
    pub target: String,
    /// Nothing can be written through it; what is mounted below is as it was.
    pub read_only: bool,
    /// Neither through what is mounted below. Needs `read_only` and [`Propagation::Private`].
    #[serde(default)]
    pub recursive_read_only: bool,
    /// Whether later mounts are seen.
    pub propagation: Propagation,
    /// Ids shown in the container for ids on the disk: none shows them as they are, which a user namespace's processes
    /// see as nobody's. What is mounted below is not mapped.
    #[serde(default)]
    pub mapping: Option<IdMappings>,
    /// What cannot be done through it; what is mounted below is as it was.
    #[serde(default)]
    pub restrictions: Restrictions,
    /// What it is.
    pub kind: MountKind,
}

/// What cannot be done through a mount, whatever is written on its files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restrictions {
    /// No program runs as its file's owner.
    pub no_set_user_id: bool,
    /// No device can be opened.
    pub no_devices: bool,
    /// No program can be executed.
    pub no_execution: bool,
}

/// What a mount is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A directory or file of the host, with all that is mounted below.
    #[default]
    Bind,
    /// New and empty memory.
    Tmpfs {
        /// None: the kernel's default.
        size_bytes: Option<u64>,
        /// Permission bits of its root directory.
        mode: u32,
    },
    /// A detached mount that came with the request. The daemon sends this for what the host's own mount namespace has.
    Passed,
    /// An image, always read-only. In a user namespace it is mapped as the root is, whatever `mapping` says.
    Image {
        /// Its layers' directories, the top layer first; at least one.
        lowers: Vec<PathBuf>,
    },
}

/// Whether mounts made later are seen on the other side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Neither way.
    #[default]
    Private,
    /// The host's appear in the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// How a user namespace's ids are the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdMappings {
    /// Of users.
    pub uids: Vec<IdMapping>,
    /// Of groups.
    pub gids: Vec<IdMapping>,
}

/// A range of ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdMapping {
    /// The first one on the host.
    pub host_id: u32,
    /// The first one inside.
    pub container_id: u32,
    /// How many.
    pub length: u32,
}

impl IdMappings {
    /// The host's user for one inside; none if it is not mapped.
    pub fn host_uid(&self, uid: u32) -> Option<u32> {
        host_id(&self.uids, uid)
    }

    /// The host's group for one inside; none if it is not mapped.
    pub fn host_gid(&self, gid: u32) -> Option<u32> {
        host_id(&self.gids, gid)
    }
}

fn host_id(mappings: &[IdMapping], id: u32) -> Option<u32> {
    mappings.iter().find_map(|mapping| {
        let offset = id.checked_sub(mapping.container_id)?;
        (offset < mapping.length).then(|| mapping.host_id.checked_add(offset))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_as_far_as_the_ranges_go() {
        let range = |host_id, container_id, length| IdMapping {
            host_id,
            container_id,
            length,
        };
        let mappings = IdMappings {
            uids: vec![range(65536, 0, 1000), range(5, 2000, 1)],
            gids: vec![range(u32::MAX, 0, 2)],
        };
        assert_eq!(mappings.host_uid(0), Some(65536));
        assert_eq!(mappings.host_uid(999), Some(66535));
        assert_eq!(mappings.host_uid(1000), None);
        assert_eq!(mappings.host_uid(2000), Some(5));
        assert_eq!(mappings.host_gid(0), Some(u32::MAX));
        assert_eq!(mappings.host_gid(1), None);
    }
}
