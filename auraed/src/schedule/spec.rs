//! A container of a pod as the sandbox wants it: everything that was left open in the pod, decided.
//!
//! Plain functions from values to values, called by the executor right before a start, because only then the image and
//! the pod's addresses are known.

mod command;
mod environment;
mod limits;
mod mounts;
mod user;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use auraed_image::ImageConfig;
use auraed_sandbox::{
    Capabilities, ContainerSpec, PidMode, Rootfs, Seccomp, default_masked_paths, default_read_only_paths,
};
use auraed_types::pod::{Container, Seccomp as Profile};
use auraed_types::{ContainerId, Pod, VolumeName};

pub(crate) use limits::pod_limits;

use super::machine::StartFailure;
use environment::Environment;

/// What a start needs beside the pod.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    /// The pod.
    pub(crate) pod: &'a Pod,
    /// Which of its containers.
    pub(crate) container: &'a Container,
    /// Which run.
    pub(crate) attempt: u32,
    /// The run's id.
    pub(crate) id: &'a ContainerId,
    /// What its image says.
    pub(crate) image: &'a ImageConfig,
    /// The pod's addresses, the main one first.
    pub(crate) addresses: &'a [IpAddr],
    /// The node's memory in bytes: a part of it decides who is killed first.
    pub(crate) node_memory_bytes: u64,
    /// Where the run's files are.
    pub(crate) places: &'a Places,
}

/// Where a run's files are on the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// The image's directories, top first.
    pub(crate) lowers: Vec<PathBuf>,
    /// What the run writes.
    pub(crate) upper: PathBuf,
    /// Overlay's own.
    pub(crate) work: PathBuf,
    /// The exit record.
    pub(crate) exit: PathBuf,
    /// The log.
    pub(crate) log: PathBuf,
    /// The termination message; there already, writable by everybody.
    pub(crate) termination_message: PathBuf,
    /// Files of the pod's own below /etc, by their path inside: `/etc/hosts` and the like.
    pub(crate) etc: BTreeMap<&'static str, PathBuf>,
    /// The pod's volumes.
    pub(crate) volumes: BTreeMap<VolumeName, PathBuf>,
}

/// Decides.
///
/// # Errors
/// [`StartFailure::Config`] or [`StartFailure::Create`], in the words that people know from Kubernetes.
pub(crate) fn container(facts: &Facts<'_>) -> Result<ContainerSpec, StartFailure> {
    let Facts {
        pod,
        container,
        image,
        places,
        ..
    } = facts;
    let security = &container.security;
    let environment = Environment::of(container, facts.addresses);
    let capabilities = Capabilities::default_with(&security.add_capabilities, &security.drop_capabilities)
        .map_err(|error| StartFailure::Create(error.to_string()))?;
    let masks_apply = !security.unmasked_proc && !security.privileged;
    let masks = |paths: fn() -> Vec<String>| if masks_apply { paths() } else { Vec::new() };
    Ok(ContainerSpec {
        name: container.name.to_string(),
        attempt: facts.attempt,
        id: facts.id.to_string(),
        rootfs: Rootfs {
            lowers: places.lowers.clone(),
            upper: places.upper.clone(),
            work: places.work.clone(),
            read_only: security.read_only_root,
        },
        mounts: mounts::mounts(facts, &environment)?,
        args: command::arguments(container, image, &environment)?,
        env: environment.with_image(&image.env),
        cwd: container
            .working_directory
            .clone()
            .unwrap_or_else(|| image.working_directory.clone()),
        user: user::user(pod, container, image)?,
        capabilities,
        ambient: Capabilities::NONE,
        no_new_privileges: security.no_new_privileges,
        seccomp: match security.seccomp {
            Profile::Default => Seccomp::Default,
            Profile::Unconfined => Seccomp::Unconfined,
        },
        apparmor: None,
        privileged: security.privileged,
        devices: Vec::new(),
        masked_paths: masks(default_masked_paths),
        read_only_paths: masks(default_read_only_paths),
        tty: container.tty,
        stdin: container.stdin,
        stdin_once: container.stdin && container.stdin_once,
        pid: PidMode::Sandbox,
        log_path: places.log.clone(),
        exit_path: places.exit.clone(),
        cgroup: limits::container_limits(container),
        oom_score_adj: limits::oom_score_adj(pod, container, facts.node_memory_bytes),
    })
}
