//! Device nodes of the host that a container is given: what they are, and the access that its cgroup allows.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use auraed_pod_init::protocol::DeviceNode;
use rustix::fs::{FileType, major, minor};

use super::Error;
use super::container::Device;
use crate::cgroup::DeviceRule;

/// A directory with more device nodes below it is nobody's wish.
const MAX_NODES: usize = 1024;
/// A directory of devices is no deeper.
const MAX_DEPTH: u32 = 8;
/// Directories that hold devices of others: terminals, memory, and what container managers put there.
const SKIPPED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
/// For a node that is on no disk.
const DEFAULT_MODE: u32 = 0o666;

/// Nodes to make, and access to allow.
pub(super) type Resolved = (Vec<DeviceNode>, Vec<DeviceRule>);

/// Looks the devices up on the host. A later one wins over an earlier one of the same place.
pub(super) fn resolve(devices: &[Device]) -> Result<Resolved, Error> {
    let mut found = Found::default();
    for device in devices {
        check(device)?;
        found.add(device)?;
    }
    Ok((found.nodes, found.rules))
}

fn check(device: &Device) -> Result<(), Error> {
    let refused = |text: &str| {
        Err(Error::Refused(format!(
            "device {}: {text}",
            device.host_path.display()
        )))
    };
    let letters = &device.permissions;
    if letters.is_empty() || letters.len() > 3 || !letters.chars().all(|letter| "rwm".contains(letter)) {
        return refused("permissions are of r, w and m");
    }
    let inside = &device.container_path;
    let plain = inside.len() <= 4096
        && !inside.contains('\0')
        && !inside.split('/').any(|part| part == "..")
        && inside.trim_end_matches('/').len() > 1;
    if !inside.starts_with('/') || !plain {
        return refused("its place in the container is not an absolute path");
    }
    if device.number.is_none() && !device.host_path.is_absolute() {
        return refused("its path is not absolute");
    }
    Ok(())
}

#[derive(Default)]
struct Found {
    nodes: Vec<DeviceNode>,
    rules: Vec<DeviceRule>,
}

impl Found {
    fn add(&mut self, device: &Device) -> Result<(), Error> {
        let path = &device.host_path;
        let failed =
            |error: &dyn std::fmt::Display| Error::Refused(format!("device {}: {error}", path.display()));
        if let Some(number) = device.number {
            let mode = DEFAULT_MODE | kind(number.block).as_raw_mode();
            let node = DeviceNode {
                path: device.container_path.clone(),
                host_path: path.clone(),
                mode,
                major: number.major,
                minor: number.minor,
                ..DeviceNode::default()
            };
            return self.push(device, node);
        }
        // Links are followed: /dev/disk/by-id is full of them.
        let metadata = std::fs::metadata(path).map_err(|error| failed(&error))?;
        let before = self.rules.len();
        if metadata.is_dir() {
            self.add_directory(device, path, &device.container_path, MAX_DEPTH)?;
        } else {
            let node = node_of(path, &metadata, &device.container_path);
            self.push(device, node.ok_or_else(|| failed(&"it is not a device node"))?)?;
        }
        if self.rules.len() == before {
            return Err(failed(&"there is no device node in this directory"));
        }
        Ok(())
    }

    /// What vanishes meanwhile is not there.
    fn add_directory(
        &mut self,
        device: &Device,
        directory: &Path,
        inside: &str,
        depth: u32,
    ) -> Result<(), Error> {
        let entries = fs_err::read_dir(directory).map_err(|error| Error::Refused(error.to_string()))?;
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name();
            let (Some(shown), Ok(metadata)) = (name.to_str(), entry.metadata()) else {
                continue;
            };
            let inside = format!("{}/{shown}", inside.trim_end_matches('/'));
            if metadata.is_dir() {
                if depth > 0 && !SKIPPED.iter().any(|skipped| OsStr::new(skipped) == name) {
                    self.add_directory(device, &entry.path(), &inside, depth - 1)?;
                }
            } else if shown != "console"
                && let Some(node) = node_of(&entry.path(), &metadata, &inside)
            {
                self.push(device, node)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, device: &Device, mut node: DeviceNode) -> Result<(), Error> {
        if self.nodes.len() >= MAX_NODES {
            return Err(Error::Refused(format!("more than {MAX_NODES} device nodes")));
        }
        if let Some(mode) = device.mode {
            node.mode = node.mode & !0o7777 | mode & 0o7777;
        }
        if let Some((uid, gid)) = device.owner {
            (node.uid, node.gid) = (uid, gid);
        }
        let has = |letter| device.permissions.contains(letter);
        self.rules.push(DeviceRule {
            block: FileType::from_raw_mode(node.mode) == FileType::BlockDevice,
            major: node.major,
            minor: Some(node.minor),
            read: has('r'),
            write: has('w'),
            mknod: has('m'),
        });
        self.nodes.retain(|other| other.path != node.path);
        self.nodes.push(node);
        Ok(())
    }
}

fn kind(block: bool) -> FileType {
    if block {
        FileType::BlockDevice
    } else {
        FileType::CharacterDevice
    }
}

fn node_of(path: &Path, metadata: &std::fs::Metadata, inside: &str) -> Option<DeviceNode> {
    let kind = FileType::from_raw_mode(metadata.mode());
    matches!(kind, FileType::CharacterDevice | FileType::BlockDevice).then(|| DeviceNode {
        path: inside.to_owned(),
        host_path: path.to_owned(),
        mode: metadata.mode(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        major: major(metadata.rdev()),
        minor: minor(metadata.rdev()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceNumber;

    fn device(host: &str, inside: &str, permissions: &str) -> Device {
        Device {
            host_path: host.into(),
            container_path: inside.to_owned(),
            permissions: permissions.to_owned(),
            ..Device::default()
        }
    }

    fn refusal(device: Device) -> String {
        match resolve(&[device]) {
            Err(Error::Refused(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_node_is_as_the_hosts() {
        let (nodes, rules) = resolve(&[device("/dev/null", "/dev/void", "rw")]).unwrap();
        let [node] = &nodes[..] else { panic!("{nodes:?}") };
        assert_eq!((node.path.as_str(), node.major, node.minor), ("/dev/void", 1, 3));
        assert_eq!(node.mode & 0o170_000, 0o020_000);
        let rule = DeviceRule {
            block: false,
            major: 1,
            minor: Some(3),
            read: true,
            write: true,
            mknod: false,
        };
        assert_eq!(rules, [rule]);
    }

    #[test]
    fn the_callers_mode_number_and_owner_win() {
        let given = Device {
            number: Some(DeviceNumber {
                block: true,
                major: 7,
                minor: 42,
            }),
            owner: Some((5, 6)),
            mode: Some(0o600),
            ..device("/dev/none", "/dev/loop42", "rwm")
        };
        let (nodes, rules) = resolve(&[given, device("/dev/null", "/dev/loop42", "r")]).unwrap();
        assert_eq!(rules.len(), 2);
        // The last one of a place.
        assert_eq!((nodes.len(), nodes[0].major), (1, 1));
        let given = Device {
            mode: Some(0o600),
            ..device("/dev/null", "/dev/x", "r")
        };
        let (nodes, _) = resolve(&[given]).unwrap();
        assert_eq!(nodes[0].mode, 0o020_600);
    }

    #[test]
    fn a_directory_is_all_that_is_below_it() {
        let (nodes, _) = resolve(&[device("/dev", "/hostdev", "rwm")]).unwrap();
        assert!(nodes.iter().any(|node| node.path == "/hostdev/null"));
        assert!(!nodes.iter().any(|node| node.path.contains("/pts/")));
    }

    #[test]
    fn what_is_no_device_is_refused_by_its_name() {
        let empty = tempfile::tempdir().unwrap();
        assert!(refusal(device("/etc/passwd", "/dev/x", "rwm")).contains("/etc/passwd: it is not a device"));
        assert!(refusal(device("/dev/no-such", "/dev/x", "rwm")).contains("/dev/no-such"));
        assert!(refusal(device(empty.path().to_str().unwrap(), "/dev/x", "rwm")).contains("no device node"));
        for permissions in ["", "x", "rwmr", "R"] {
            assert!(refusal(device("/dev/null", "/dev/x", permissions)).contains("r, w and m"));
        }
        for inside in ["", "/", "dev/x", "/dev/../x", "/dev/\0"] {
            assert!(
                refusal(device("/dev/null", inside, "r")).contains("absolute path"),
                "{inside:?}"
            );
        }
        assert!(refusal(device("null", "/dev/x", "r")).contains("not absolute"));
    }
}
