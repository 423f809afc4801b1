//! Specs of the API as the kernel seam wants them. What is given was checked before; files of the node may be read.

mod limits;
mod mounts;
mod security;

use super::error::SandboxError;
use super::places::{ContainerPlace, Directories};
use super::record::ContainerRecord;
use crate::lowest;
use crate::runtime::cdi;
use api::NamespaceMode;
use auraed_api::runtime::v0 as api;
use auraed_image::{Image, ImageConfig, Store};
use auraed_sandbox::cgroup::{Placement, Qos};
use auraed_sandbox::network::{PortMapping, Protocol};
use auraed_sandbox::{
    ContainerSpec, Device, IdMapping, IdMappings, NetworkNamespace, PidMode, Rootfs, SandboxSpec,
    UserNamespace,
};
use auraed_types::Problem;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) use limits::{limits, merged};

/// What a container needs beside its spec.
pub(super) struct Facts {
    pub(super) spec: api::ContainerSpec,
    pub(super) image: Arc<Image>,
    /// Images that are mounted, in the order of those mounts.
    pub(super) mounted: Vec<Arc<Image>>,
    /// What is in force.
    pub(super) resources: api::LinuxResources,
    pub(super) images: Store,
    pub(super) directories: Directories,
}

/// A sandbox to make.
pub(super) fn sandbox(
    spec: &api::SandboxSpec,
    network: NetworkNamespace,
    user_namespace: Option<UserNamespace>,
) -> SandboxSpec {
    SandboxSpec {
        id: spec.id.clone(),
        hostname: match spec.network() {
            NamespaceMode::Node => spec.hostname.clone(),
            _ => hostname(spec),
        },
        network,
        host_pid: spec.pid() == NamespaceMode::Node,
        host_ipc: spec.ipc() == NamespaceMode::Node,
        share_pid: spec.pid() == NamespaceMode::Unspecified,
        sysctls: spec.sysctls.clone().into_iter().collect(),
        cgroup: spec.resources.as_ref().map(limits).unwrap_or_default(),
        placement: match spec.cgroup_parent.as_str() {
            "" => Placement::Qos(Qos::Burstable),
            parent => Placement::Below(parent.to_owned()),
        },
        tmpfs: Vec::new(),
        user_namespace,
        // The caller does, and says so.
        rotate_logs: false,
    }
}

/// A sandbox's own name, or the node's.
pub(super) fn hostname(spec: &api::SandboxSpec) -> String {
    if spec.hostname.is_empty() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        spec.hostname.clone()
    }
}

/// The ports of the node that lead to a sandbox.
pub(super) fn ports(spec: &api::SandboxSpec) -> Vec<PortMapping> {
    let mapping = |port: &api::SandboxPort| {
        let host_address = match port.host_address.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => Some(address),
            // The embedded network has no IPv6: nobody could come in there.
            Ok(IpAddr::V6(_)) => return None,
            Err(_) => None,
        };
        Some(PortMapping {
            protocol: match port.protocol() {
                api::Protocol::Unspecified => Protocol::Tcp,
                api::Protocol::Udp => Protocol::Udp,
                api::Protocol::Sctp => Protocol::Sctp,
            },
            host_address,
            host_port: u16::try_from(port.host_port).ok().filter(|port| *port != 0)?,
            container_port: u16::try_from(port.container_port)
                .ok()
                .filter(|port| *port != 0)?,
        })
    };
    spec.ports.iter().filter_map(mapping).collect()
}

/// A container to start.
///
/// # Errors
/// [`SandboxError::Invalid`] with what only the image or a file on the node can tell.
pub(super) fn container(facts: &Facts) -> Result<ContainerSpec, SandboxError> {
    let Facts { spec, image, .. } = facts;
    let security = spec.security.clone().unwrap_or_default();
    let place: ContainerPlace = facts.directories.container(&spec.sandbox, &spec.id);
    let sets = security::capabilities(&security)?;
    let cdi = devices_by_name(&spec.cdi_devices)?;
    let mut container = ContainerSpec {
        name: spec.id.clone(),
        attempt: 0,
        id: spec.id.clone(),
        rootfs: Rootfs {
            lowers: lowest::layers(&facts.images, image, &facts.directories.state),
            upper: place.upper(),
            work: place.work(),
            read_only: security.read_only_root,
        },
        mounts: mounts::mounts(facts, security.read_only_root),
        args: arguments(spec, &image.config)?,
        env: environment(spec, &image.config),
        cwd: match spec.working_directory.as_str() {
            "" => image.config.working_directory.clone(),
            directory => directory.to_owned(),
        },
        user: security::user(&security, &image.config),
        capabilities: sets.effective,
        ambient: sets.ambient,
        no_new_privileges: security.no_new_privileges,
        seccomp: security::seccomp(&security)?,
        apparmor: security::apparmor(&security),
        privileged: security.privileged,
        devices: spec.devices.iter().map(device).collect(),
        masked_paths: security.masked_paths.clone(),
        read_only_paths: security.read_only_paths.clone(),
        tty: spec.tty,
        stdin: spec.stdin,
        stdin_once: spec.stdin_once,
        pid: match security.pid() {
            NamespaceMode::Unspecified | NamespaceMode::Node => PidMode::Sandbox,
            NamespaceMode::Container => PidMode::Container,
            NamespaceMode::Target => PidMode::Target(security.pid_target.clone()),
        },
        log_path: PathBuf::from(&spec.log_path),
        exit_path: place.exit_record(),
        cgroup: limits(&facts.resources),
        oom_score_adj: facts.resources.oom_score_adj.unwrap_or(0),
    };
    cdi.apply(&mut container);
    Ok(container)
}

/// What the node's specs of the Container Device Interface say of these devices.
fn devices_by_name(names: &[String]) -> Result<cdi::Edits, SandboxError> {
    cdi::resolve(&cdi::DIRECTORIES.map(PathBuf::from), names)
        .map_err(|error| invalid("cdi_devices", error.to_string()))
}

/// The container's command takes the place of the image's entrypoint and with it of the image's command, its arguments
/// that of the latter alone.
fn arguments(spec: &api::ContainerSpec, image: &ImageConfig) -> Result<Vec<String>, SandboxError> {
    let mut arguments = spec.command.clone();
    let mut more = spec.args.clone();
    if arguments.is_empty() {
        if more.is_empty() {
            more.clone_from(&image.command);
        }
        arguments.clone_from(&image.entrypoint);
    }
    arguments.append(&mut more);
    if arguments.is_empty() {
        return Err(invalid("command", "no command specified, and none by the image"));
    }
    Ok(arguments)
}

/// `NAME=value`, the image's first: later ones win.
fn environment(spec: &api::ContainerSpec, image: &ImageConfig) -> Vec<String> {
    let own = spec
        .env
        .iter()
        .map(|variable| format!("{}={}", variable.name, variable.value));
    image.env.iter().cloned().chain(own).collect()
}

fn device(device: &api::ContainerDevice) -> Device {
    Device {
        host_path: PathBuf::from(&device.host_path),
        container_path: device.container_path.clone(),
        permissions: device.permissions.clone(),
        ..Device::default()
    }
}

/// The ids of a user namespace.
pub(super) fn mappings(namespace: &api::UserNamespace) -> IdMappings {
    let ranges = |mappings: &[api::IdMapping]| {
        let range = |mapping: &api::IdMapping| IdMapping {
            host_id: mapping.host_id,
            container_id: mapping.container_id,
            length: mapping.length,
        };
        mappings.iter().map(range).collect()
    };
    IdMappings {
        uids: ranges(&namespace.uids),
        gids: ranges(&namespace.gids),
    }
}

/// A container's images, by what is remembered of it: its own, and those that it mounts. Also images that were removed
/// meanwhile, for what a container uses stays.
pub(super) fn used(
    images: &Store,
    record: &ContainerRecord,
) -> Result<(Arc<Image>, Vec<Arc<Image>>), SandboxError> {
    let used = |id: &String| {
        images.used(id).ok_or_else(|| SandboxError::NoImage {
            reference: id.clone(),
        })
    };
    let mounted = record.mounted_images.iter().map(used);
    Ok((used(&record.image)?, mounted.collect::<Result<_, _>>()?))
}

/// An image that is on the node.
pub(super) fn image(images: &Store, reference: &str) -> Result<Arc<Image>, SandboxError> {
    images.get(reference).ok_or_else(|| SandboxError::NoImage {
        reference: reference.to_owned(),
    })
}

/// The one problem of a container.
fn invalid(field: &str, reason: impl Into<String>) -> SandboxError {
    let problems = vec![Problem {
        field: field.to_owned(),
        reason: reason.into(),
    }];
    SandboxError::Invalid {
        what: "container",
        problems,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_command_takes_the_place_of_the_images_entrypoint_and_command() {
        let image = ImageConfig {
            entrypoint: texts(&["/entry", "-x"]),
            command: texts(&["serve"]),
            ..ImageConfig::default()
        };
        let run = |command: &[&str], args: &[&str], image: &ImageConfig| {
            let spec = api::ContainerSpec {
                command: texts(command),
                args: texts(args),
                ..api::ContainerSpec::default()
            };
            arguments(&spec, image).map(|arguments| arguments.join(" "))
        };
        assert_eq!(run(&[], &[], &image).unwrap(), "/entry -x serve");
        assert_eq!(run(&[], &["stop"], &image).unwrap(), "/entry -x stop");
        assert_eq!(run(&["sh"], &[], &image).unwrap(), "sh");
        assert_eq!(run(&["sh"], &["-c", "true"], &image).unwrap(), "sh -c true");
        let empty = ImageConfig::default();
        assert_eq!(run(&[], &["true"], &empty).unwrap(), "true");
        let error = run(&[], &[], &empty).unwrap_err().to_string();
        assert!(error.contains("no command specified"), "{error}");
    }

    #[test]
    fn a_containers_variables_come_after_the_images() {
        let image = ImageConfig {
            env: texts(&["PATH=/bin", "A=image"]),
            ..ImageConfig::default()
        };
        let variable = |name: &str, value: &str| api::KeyValue {
            name: name.into(),
            value: value.into(),
        };
        let spec = api::ContainerSpec {
            env: vec![variable("A", "spec"), variable("B", "x=y")],
            ..api::ContainerSpec::default()
        };
        assert_eq!(
            environment(&spec, &image),
            ["PATH=/bin", "A=image", "A=spec", "B=x=y"]
        );
    }

    #[test]
    fn only_ports_of_the_node_are_mapped() {
        let port = |host_port, host_address: &str| api::SandboxPort {
            container_port: 80,
            host_port,
            host_address: host_address.into(),
            ..api::SandboxPort::default()
        };
        let spec = api::SandboxSpec {
            ports: vec![
                port(0, ""),
                port(8080, ""),
                port(8081, "127.0.0.1"),
                port(8082, "::1"),
            ],
            ..api::SandboxSpec::default()
        };
        let ports: Vec<_> = ports(&spec)
            .into_iter()
            .map(|port| (port.host_port, port.host_address))
            .collect();
        assert_eq!(ports, [(8080, None), (8081, Some([127, 0, 0, 1].into()))]);
    }
}
