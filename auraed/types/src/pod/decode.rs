//! From the wire message to a [`Pod`], with every problem named.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use auraed_api::schedule::v0 as api;

use super::decode_container::container;
use super::{
    Container, DEFAULT_GRACE_PERIOD, Dns, File, Files, HostAlias, HostPathType, Pod, RegistryCredentials,
    RestartPolicy, Volume, VolumeSource,
};
use crate::id::{Namespace, PodId, PodName, VolumeName};
use crate::invalid::{Checker, InvalidPod};
use crate::secret::{Secret, SecretBytes};

const NO_BACKSTEPS: &str = "must not contain '..'";
const ABSOLUTE: &str = "must be an absolute path";

impl TryFrom<api::Pod> for Pod {
    type Error = InvalidPod;

    fn try_from(message: api::Pod) -> Result<Pod, InvalidPod> {
        let mut checker = Checker::default();
        let pod = pod(message, &mut checker);
        checker.finish(pod)
    }
}

fn pod(message: api::Pod, checker: &mut Checker) -> Option<Pod> {
    let id = checker.take("id", PodId::new(message.id));
    let name = checker.take("name", PodName::new(message.name));
    let namespace = if message.namespace.is_empty() {
        "default".to_owned()
    } else {
        message.namespace
    };
    let namespace = checker.take("namespace", Namespace::new(namespace));
    let volumes = volumes(message.volumes, checker);
    let init_containers = containers("init_containers", message.init_containers, true, checker);
    let containers = containers("containers", message.containers, false, checker);
    check_containers(
        &init_containers,
        &containers,
        &volumes,
        message.host_network,
        checker,
    );
    let restart_policy = restart_policy(message.restart_policy, checker);
    let hostname = hostname(message.hostname, name.as_ref(), checker);
    if message.active_deadline_seconds == Some(0) {
        checker.refuse("active_deadline_seconds", "must be at least 1");
    }
    check_sysctls(&message.sysctls, message.host_network, message.host_ipc, checker);
    let dns = checker.at("dns", |checker| dns(message.dns.unwrap_or_default(), checker));
    let host_aliases = host_aliases(message.host_aliases, checker);
    Some(Pod {
        id: id?,
        name: name?,
        namespace: namespace?,
        labels: message.labels.into_iter().collect(),
        annotations: message.annotations.into_iter().collect(),
        generation: message.generation,
        init_containers,
        containers,
        volumes,
        restart_policy: restart_policy?,
        grace_period: message
            .grace_period_seconds
            .map_or(DEFAULT_GRACE_PERIOD, Duration::from_secs),
        active_deadline: message.active_deadline_seconds.map(Duration::from_secs),
        hostname: hostname?,
        fqdn: Some(message.fqdn).filter(|fqdn| !fqdn.is_empty()),
        host_network: message.host_network,
        host_pid: message.host_pid,
        host_ipc: message.host_ipc,
        share_process_namespace: message.share_process_namespace,
        dns,
        host_aliases,
        sysctls: message.sysctls.into_iter().collect(),
        fs_group: message.fs_group,
        credentials: message
            .credentials
            .into_iter()
            .map(|credentials| RegistryCredentials {
                registry: credentials.registry,
                username: credentials.username,
                password: Secret::new(credentials.password),
                identity_token: Secret::new(credentials.identity_token),
                registry_token: Secret::new(credentials.registry_token),
            })
            .collect(),
        source: message.source,
    })
}

fn containers(
    field: &str,
    messages: Vec<auraed_api::runtime::v0::Container>,
    init: bool,
    checker: &mut Checker,
) -> Vec<Container> {
    if !init && messages.is_empty() {
        checker.refuse(field, "must hold at least one container");
    }
    let parse = |(index, message)| {
        checker.at(format!("{field}[{index}]"), |checker| {
            container(message, init, checker)
        })
    };
    messages.into_iter().enumerate().filter_map(parse).collect()
}

/// What no container can know of itself: unique names and host ports, volumes that exist.
fn check_containers(
    init: &[Container],
    ordinary: &[Container],
    volumes: &[Volume],
    host_network: bool,
    checker: &mut Checker,
) {
    let mut names = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    let fields = init.iter().enumerate().map(|entry| ("init_containers", entry));
    for (field, (index, container)) in
        fields.chain(ordinary.iter().enumerate().map(|entry| ("containers", entry)))
    {
        checker.at(format!("{field}[{index}]"), |checker| {
            if !names.insert(container.name.clone()) {
                checker.refuse(
                    "name",
                    format!("\"{}\" is the name of two containers", container.name),
                );
            }
            for (index, mount) in container.mounts.iter().enumerate() {
                if !volumes.iter().any(|volume| volume.name == mount.volume) {
                    let reason = format!("the pod has no volume \"{}\"", mount.volume);
                    checker.refuse(&format!("mounts[{index}].volume"), reason);
                }
            }
            for (index, port) in container.ports.iter().enumerate() {
                let Some(host_port) = port.host_port else { continue };
                let field = format!("ports[{index}].host_port");
                if host_network && host_port != port.container_port {
                    checker.refuse(&field, "must equal container_port in a pod with host_network");
                }
                if !host_ports.insert((port.host_address, host_port, port.protocol as u8)) {
                    checker.refuse(&field, format!("{host_port} is mapped twice"));
                }
            }
        });
    }
}

fn restart_policy(value: i32, checker: &mut Checker) -> Option<RestartPolicy> {
    use auraed_api::runtime::v0::RestartPolicy as Wire;
    match Wire::try_from(value) {
        Ok(Wire::Unspecified | Wire::Always) => Some(RestartPolicy::Always),
        Ok(Wire::OnFailure) => Some(RestartPolicy::OnFailure),
        Ok(Wire::Never) => Some(RestartPolicy::Never),
        Err(_) => {
            checker.refuse("restart_policy", format!("{value} is not known to this node"));
            None
        }
    }
}

fn hostname(given: String, name: Option<&PodName>, checker: &mut Checker) -> Option<String> {
    if given.is_empty() {
        let name = name?.as_str();
        let cut = &name[..name.len().min(63)];
        return Some(cut.trim_end_matches(['-', '.']).to_owned());
    }
    if given.len() > 64 {
        checker.refuse(
            "hostname",
            format!("must be at most 64 characters, not {}", given.len()),
        );
        return None;
    }
    checker.take("hostname", PodName::new(given)).map(String::from)
}

fn check_sysctls(
    sysctls: &std::collections::HashMap<String, String>,
    host_network: bool,
    host_ipc: bool,
    checker: &mut Checker,
) {
    let sorted: BTreeMap<_, _> = sysctls.iter().collect();
    for name in sorted.into_keys() {
        let part = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || name == "kernel.sem";
        let reason = match () {
            () if !name.split('.').all(part) => "is not a name of /proc/sys with dots".to_owned(),
            () if name.starts_with("net.") && host_network => {
                "would change the node: the pod has host_network".to_owned()
            }
            () if ipc && host_ipc => "would change the node: the pod has host_ipc".to_owned(),
            () if !ipc && !name.starts_with("net.") => {
                "would change the node: it has no namespace of its own".to_owned()
            }
            () => continue,
        };
        checker.refuse(&format!("sysctls[{name}]"), reason);
    }
}

fn dns(message: api::Dns, checker: &mut Checker) -> Dns {
    let parse = |(index, server): (usize, String)| {
        let reason = format!("\"{server}\" is not an IP address");
        checker.take(
            &format!("nameservers[{index}]"),
            server.parse().map_err(|_| reason),
        )
    };
    Dns {
        nameservers: message
            .nameservers
            .into_iter()
            .enumerate()
            .filter_map(parse)
            .collect(),
        searches: message.searches,
        options: message.options,
        include_host: message.include_host,
    }
}

fn host_aliases(messages: Vec<api::HostAlias>, checker: &mut Checker) -> Vec<HostAlias> {
    let parse = |(index, alias): (usize, api::HostAlias)| {
        let reason = format!("\"{}\" is not an IP address", alias.address);
        let address = checker.take(
            &format!("host_aliases[{index}].address"),
            alias.address.parse().map_err(|_| reason),
        );
        let plain =
            |name: &String| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
        if alias.names.is_empty() || !alias.names.iter().all(plain) {
            checker.refuse(
                &format!("host_aliases[{index}].names"),
                "must hold names without white space",
            );
        }
        Some(HostAlias {
            address: address?,
            names: alias.names,
        })
    };
    messages.into_iter().enumerate().filter_map(parse).collect()
}

fn volumes(messages: Vec<api::Volume>, checker: &mut Checker) -> Vec<Volume> {
    let mut names = BTreeSet::new();
    let mut volumes = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        checker.at(format!("volumes[{index}]"), |checker| {
            let name = checker.take("name", VolumeName::new(message.name));
            if let Some(name) = &name
                && !names.insert(name.clone())
            {
                checker.refuse("name", format!("\"{name}\" is the name of two volumes"));
            }
            let source = volume_source(message.source, checker);
            if let (Some(name), Some(source)) = (name, source) {
                volumes.push(Volume { name, source });
            }
        });
    }
    volumes
}

fn volume_source(source: Option<api::volume::Source>, checker: &mut Checker) -> Option<VolumeSource> {
    match source {
        Some(api::volume::Source::EmptyDirectory(empty)) => Some(VolumeSource::EmptyDirectory {
            memory: empty.memory,
            size_limit: empty.size_limit_bytes,
        }),
        Some(api::volume::Source::HostPath(host)) => {
            if let Err(reason) = check_absolute(&host.path) {
                checker.refuse("host_path.path", reason);
            }
            let kind = host_path_type(host.r#type, checker)?;
            Some(VolumeSource::HostPath {
                path: host.path,
                kind,
            })
        }
        Some(api::volume::Source::Files(files)) => checker
            .at("files", |checker| decode_files(files, checker))
            .map(VolumeSource::Files),
        None => {
            checker.refuse("", "must have a source that this node knows");
            None
        }
    }
}

fn host_path_type(value: i32, checker: &mut Checker) -> Option<HostPathType> {
    Some(match api::HostPathType::try_from(value) {
        Ok(api::HostPathType::Unspecified) => HostPathType::Unchecked,
        Ok(api::HostPathType::DirectoryOrCreate) => HostPathType::DirectoryOrCreate,
        Ok(api::HostPathType::Directory) => HostPathType::Directory,
        Ok(api::HostPathType::FileOrCreate) => HostPathType::FileOrCreate,
        Ok(api::HostPathType::File) => HostPathType::File,
        Ok(api::HostPathType::Socket) => HostPathType::Socket,
        Ok(api::HostPathType::CharacterDevice) => HostPathType::CharacterDevice,
        Ok(api::HostPathType::BlockDevice) => HostPathType::BlockDevice,
        Err(_) => {
            checker.refuse("host_path.type", format!("{value} is not known to this node"));
            return None;
        }
    })
}

/// Checks new content of a volume, as `UpdateFiles` brings it.
///
/// # Errors
/// Every problem with a path or a mode; fields are named from `files` on.
pub fn check_files(message: api::Files) -> Result<Files, InvalidPod> {
    let mut checker = Checker::default();
    let files = checker.at("files", |checker| decode_files(message, checker));
    checker.finish(files)
}

fn decode_files(message: api::Files, checker: &mut Checker) -> Option<Files> {
    let mut paths = BTreeSet::new();
    let mut files = Vec::with_capacity(message.files.len());
    for (index, file) in message.files.into_iter().enumerate() {
        if let Err(reason) = check_file_path(&file.path) {
            checker.refuse(&format!("files[{index}].path"), reason);
        } else if !paths.insert(file.path.clone()) {
            checker.refuse(
                &format!("files[{index}].path"),
                format!("\"{}\" is there twice", file.path),
            );
        }
        if file.mode > 0o777 {
            checker.refuse(&format!("files[{index}].mode"), "must be between 0 and 0777");
        }
        let content = SecretBytes::new(file.content);
        files.push(File {
            path: file.path,
            content,
            mode: file.mode,
            owner: file.owner,
        });
    }
    for path in &paths {
        let below = format!("{path}/");
        if paths
            .range(below.clone()..)
            .next()
            .is_some_and(|next| next.starts_with(&below))
        {
            checker.refuse("files", format!("\"{path}\" is both a file and a directory"));
        }
    }
    Some(Files {
        files,
        sensitive: message.sensitive,
    })
}

fn check_file_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.starts_with('/') {
        return Err("must be a relative path");
    }
    if path.len() > 4096 || path.split('/').any(|part| part.len() > 255) {
        return Err("is too long: at most 4096 bytes, 255 a component");
    }
    if path.contains('\0') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("must have no component that is empty, '.' or '..'");
    }
    // Such names belong to the layout that makes updates atomic.
    if path.starts_with("..") {
        return Err("must not begin with '..'");
    }
    Ok(())
}

/// An absolute path without `..` and NUL.
pub(super) fn check_absolute(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(ABSOLUTE);
    }
    if path.split('/').any(|part| part == "..") {
        return Err(NO_BACKSTEPS);
    }
    Ok(())
}

/// A relative path without `..` and NUL.
pub(super) fn check_relative(path: &str) -> Result<(), &'static str> {
    if path.starts_with('/') || path.contains('\0') {
        return Err("must be a relative path");
    }
    if path.split('/').any(|part| part == "..") {
        return Err(NO_BACKSTEPS);
    }
    Ok(())
}
