//! What a container gets for its devices.

use std::path::{Path, PathBuf};

use auraed_sandbox::{ContainerSpec, Device, DeviceNumber, Mount, MountKind, Propagation};

use super::CdiError;
use super::format::{self, ContainerEdits};

/// For nodes whose file does not say it, as OCI runtimes make them.
const DEFAULT_MODE: u32 = 0o666;

/// What a container gets for its devices, in the order of the names that it gave.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    /// `NAME=value`; before all others of the name.
    env: Vec<String>,
    devices: Vec<Device>,
    mounts: Vec<Mount>,
    groups: Vec<u32>,
}

impl Edits {
    /// Gives it all to a container. What is at the same place or has the same name already is replaced.
    pub(crate) fn apply(self, spec: &mut ContainerSpec) {
        spec.env.extend(self.env);
        spec.devices.extend(self.devices);
        spec.user.additional_groups.extend(self.groups);
        let place = |mount: &Mount| mount.target.trim_end_matches('/').to_owned();
        for mount in self.mounts {
            spec.mounts.retain(|other| place(other) != place(&mount));
            spec.mounts.push(mount);
        }
        // What is mounted inside another mount must come after it.
        let depth = |mount: &Mount| mount.target.split('/').filter(|part| !part.is_empty()).count();
        spec.mounts.sort_by_key(depth);
    }

    /// Adds what a file says for a device of this name.
    pub(super) fn add(&mut self, name: &str, edits: &ContainerEdits) -> Result<(), CdiError> {
        refuse(name, edits)?;
        let wrong = |reason: String| CdiError::Device {
            name: name.to_owned(),
            reason,
        };
        for variable in edits.env.iter().flatten() {
            if variable.split_once('=').is_none_or(|(name, _)| name.is_empty()) || variable.contains('\0') {
                return Err(wrong(
                    "an environment variable is not of the form NAME=value".to_owned(),
                ));
            }
            self.env.push(variable.clone());
        }
        for node in edits.device_nodes.iter().flatten() {
            self.devices.push(device(node).map_err(wrong)?);
        }
        for mount in edits.mounts.iter().flatten() {
            self.mounts.push(bind(mount).map_err(wrong)?);
        }
        // 0 is as if it were not there.
        let groups = edits.additional_gids.iter().flatten();
        self.groups.extend(groups.filter(|gid| **gid != 0));
        Ok(())
    }
}

fn refuse(name: &str, edits: &ContainerEdits) -> Result<(), CdiError> {
    let unsupported = |what: String| {
        Err(CdiError::Unsupported {
            name: name.to_owned(),
            what,
        })
    };
    if let Some(hook) = edits.hooks.iter().flatten().next() {
        return unsupported(format!("the {} hook {}", hook.hook_name, hook.path));
    }
    if edits.intel_rdt.is_some() {
        return unsupported("intelRdt".to_owned());
    }
    if edits
        .net_devices
        .as_ref()
        .is_some_and(|devices| !devices.is_empty())
    {
        return unsupported("network devices".to_owned());
    }
    Ok(())
}

/// What the file does not say of a node is as the host's node is; its mode is open, for the device's cgroup guards it.
fn device(node: &format::DeviceNode) -> Result<Device, String> {
    let path = &node.path;
    let host_path = node.host_path.as_deref().filter(|path| !path.is_empty());
    let host_path = PathBuf::from(host_path.unwrap_or(path));
    let kind = node.kind.as_deref().filter(|kind| !kind.is_empty());
    let block = match kind {
        None => None,
        Some("b") => Some(true),
        Some("c" | "u") => Some(false),
        Some(other) => return Err(format!("the device {path} has the type {other:?}, not b or c")),
    };
    // As CDI has it: a type with a major number, which is never 0, says it all.
    let number = match (block, node.major.unwrap_or(0)) {
        (Some(block), major) if major != 0 => Some(DeviceNumber {
            block,
            major,
            minor: node.minor.unwrap_or(0),
        }),
        (block, _) => {
            check_host(&host_path, block)?;
            None
        }
    };
    let permissions = node.permissions.as_deref().filter(|letters| !letters.is_empty());
    Ok(Device {
        host_path,
        container_path: path.clone(),
        permissions: permissions.unwrap_or("rwm").to_owned(),
        owner: match (node.uid, node.gid) {
            (None, None) => None,
            (uid, gid) => Some((uid.unwrap_or(0), gid.unwrap_or(0))),
        },
        mode: Some(node.file_mode.unwrap_or(DEFAULT_MODE)),
        number,
    })
}

fn check_host(path: &Path, block: Option<bool>) -> Result<(), String> {
    use std::os::unix::fs::FileTypeExt;
    let kind = fs_err::metadata(path)
        .map_err(|error| error.to_string())?
        .file_type();
    let fits = match block {
        None => kind.is_block_device() || kind.is_char_device(),
        Some(true) => kind.is_block_device(),
        Some(false) => kind.is_char_device(),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("{} is not such a device node", path.display()))
    }
}

fn bind(mount: &format::Mount) -> Result<Mount, String> {
    let (source, target) = (Path::new(&mount.host_path), &mount.container_path);
    let kind = mount.kind.as_deref().filter(|kind| !kind.is_empty());
    if !matches!(kind, None | Some("bind" | "none")) {
        return Err(format!("the mount on {target} has a type that is not bind"));
    }
    let inside =
        target.starts_with('/') && !target.contains('\0') && !target.split('/').any(|part| part == "..");
    if !inside || !source.is_absolute() {
        return Err(format!("the mount on {target:?} has a path that is not absolute"));
    }
    // Else it would be made, as an empty directory.
    fs_err::metadata(source).map_err(|error| error.to_string())?;
    let mut made = Mount {
        source: source.to_owned(),
        target: target.clone(),
        kind: MountKind::Bind,
        ..Mount::default()
    };
    for option in mount.options.iter().flatten() {
        match option.as_str() {
            "bind" | "rbind" | "rw" | "suid" | "dev" | "exec" | "private" | "rprivate" | "defaults"
            | "relatime" | "noatime" | "nodiratime" | "strictatime" => {}
            "ro" => made.read_only = true,
            "nosuid" => made.restrictions.no_set_user_id = true,
            "nodev" => made.restrictions.no_devices = true,
            "noexec" => made.restrictions.no_execution = true,
            "slave" | "rslave" => made.propagation = Propagation::HostToContainer,
            "shared" | "rshared" => made.propagation = Propagation::Bidirectional,
            other => {
                return Err(format!(
                    "the mount on {target} has the option {other:?}, which is not known"
                ));
            }
        }
    }
    Ok(made)
}
