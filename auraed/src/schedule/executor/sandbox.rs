//! The pod's sandbox: address, network namespace and pod init, and what is heard of it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use auraed_sandbox::cgroup::{Placement, Qos};
use auraed_sandbox::network::{PortMapping, Protocol};
use auraed_sandbox::{
    Events, NetworkNamespace, RunState, Sandbox, SandboxEvent, SandboxSpec, Tmpfs, end_sandbox,
};
use auraed_types::pod::{Port, VolumeSource};
use auraed_types::{Pod, QosClass};

use super::node::{Cell, Task};
use crate::files;
use crate::mount::empty_directory;
use crate::network::Request;
use crate::schedule::machine::{Input, SandboxFacts};
use crate::schedule::{etc, spec};
use crate::server::chain;

/// Between two tries to end a sandbox.
const DESTROY_AGAIN: Duration = Duration::from_secs(1);

/// A sandbox that an earlier daemon made.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) sandbox: Sandbox,
    pub(crate) events: Events,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Task {
    pub(super) async fn create_sandbox(self, attempt: u32) {
        match self.make_sandbox(attempt).await {
            Ok((facts, events)) => {
                self.tell(Input::SandboxCreated(facts));
                self.listen(events).await;
            }
            Err(message) => self.tell(Input::SandboxFailed { message }),
        }
    }

    async fn make_sandbox(&self, attempt: u32) -> Result<(SandboxFacts, Events), String> {
        if attempt > 0 {
            // Whatever is left of the one before, even if its init does not answer.
            drop(self.cell.take_sandbox());
            end_sandbox(&self.node.host, self.pod.id.as_str())
                .await
                .map_err(|error| chain(&error))?;
            self.disconnect().await?;
        }
        let begun = Instant::now();
        let (network, addresses) = self.attach().await?;
        let attached = begun.elapsed();
        let made = tokio::join!(
            Sandbox::create(&self.node.host, self.sandbox_spec(network)),
            self.write_etc(addresses.clone())
        );
        let (sandbox, events) = match made {
            (Ok(made), Ok(())) => made,
            (Ok((sandbox, _)), Err(message)) => {
                self.end(sandbox).await;
                self.undo_attach().await;
                return Err(message);
            }
            (Err(error), _) => {
                self.undo_attach().await;
                return Err(chain(&error));
            }
        };
        let created = begun.elapsed() - attached;
        let facts = SandboxFacts {
            addresses,
            init_pid: sandbox.init_pid(),
            detail: format!(
                "network {} µs, init {} µs",
                attached.as_micros(),
                created.as_micros()
            ),
        };
        self.cell.set_sandbox(sandbox, facts.addresses.clone());
        Ok((facts, events))
    }

    async fn attach(&self) -> Result<(NetworkNamespace, Vec<IpAddr>), String> {
        if self.pod.host_network {
            return Ok((NetworkNamespace::Host, Vec::new()));
        }
        let attached = self.node.network.attach(&request(&self.pod)).await;
        let attached = attached.map_err(|error| chain(&error))?;
        Ok((
            NetworkNamespace::Namespace(attached.namespace),
            attached.addresses,
        ))
    }

    /// Takes the pod off the network; where it can, it keeps its address for the next try.
    async fn disconnect(&self) -> Result<(), String> {
        if self.pod.host_network {
            return Ok(());
        }
        let disconnected = self.node.network.disconnect(self.pod.id.as_str(), None).await;
        disconnected.map_err(|error| chain(&error))
    }

    /// Undoes what `attach` did, for a sandbox that did not come to be.
    async fn undo_attach(&self) {
        if let Err(message) = self.disconnect().await {
            tracing::warn!(pod = %self.pod.id, message, "the network of a failed sandbox is left for its next try");
        }
    }

    fn sandbox_spec(&self, network: NetworkNamespace) -> SandboxSpec {
        let pod = &self.pod;
        SandboxSpec {
            id: pod.id.to_string(),
            hostname: if pod.host_network {
                String::new()
            } else {
                pod.hostname.clone()
            },
            network,
            host_pid: pod.host_pid,
            host_ipc: pod.host_ipc,
            share_pid: pod.share_process_namespace,
            sysctls: pod.sysctls.clone().into_iter().collect(),
            cgroup: spec::pod_limits(pod),
            placement: Placement::Qos(qos(pod)),
            tmpfs: tmpfs(pod),
            user_namespace: None,
            rotate_logs: true,
        }
    }

    async fn write_etc(&self, addresses: Vec<IpAddr>) -> Result<(), String> {
        let (pod, places) = (self.pod.clone(), self.places.clone());
        let write = move || {
            let node = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
            let hosts = etc::hosts(&pod, &addresses, &node(etc::NODE_HOSTS));
            let resolv_conf = etc::resolv_conf(&pod.dns, &node(etc::NODE_RESOLV_CONF));
            let hostname = if pod.host_network {
                node("/etc/hostname")
            } else {
                format!("{}\n", pod.hostname)
            };
            let directory = places.etc();
            files::make_private(&directory)?;
            for (name, content) in [
                ("hosts", hosts),
                ("resolv.conf", resolv_conf),
                ("hostname", hostname),
            ] {
                files::replace(&directory.join(name), content.as_bytes(), 0o644)?;
            }
            std::io::Result::Ok(())
        };
        let written = tokio::task::spawn_blocking(write).await;
        written
            .map_err(|panicked| panicked.to_string())?
            .map_err(|error| error.to_string())
    }

    /// Hands on what happens in the sandbox, until its init ends.
    pub(super) async fn listen(self, mut events: Events) {
        while let Some(event) = events.next().await {
            if let SandboxEvent::Exited(run) = event
                && matches!(run.state, RunState::Exited { .. })
                && let Some(exit) = self.exit(run).await
            {
                self.tell(Input::Exited(exit));
            }
        }
        let exits = self.recorded_exits().await;
        self.tell(Input::SandboxLost { exits });
    }

    pub(super) async fn destroy_sandbox(self) {
        if let Some(sandbox) = self.cell.take_sandbox() {
            self.end(sandbox).await;
        }
        self.tell(Input::SandboxDestroyed);
    }

    async fn end(&self, sandbox: Sandbox) {
        if let Err(error) = sandbox.destroy().await {
            tracing::warn!(pod = %self.pod.id, error = chain(&error), "a sandbox does not end");
            self.end_by_force().await;
        }
    }

    /// Until nothing of the sandbox is left.
    pub(super) async fn end_by_force(&self) {
        drop(self.cell.take_sandbox());
        while let Err(error) = end_sandbox(&self.node.host, self.pod.id.as_str()).await {
            tracing::warn!(pod = %self.pod.id, error = chain(&error), "cannot end a sandbox, trying again");
            tokio::time::sleep(DESTROY_AGAIN).await;
        }
    }
}

impl Cell {
    /// The sandbox, for whoever acts on it.
    pub(crate) fn sandbox(&self) -> Option<Sandbox> {
        self.lock().sandbox.clone()
    }

    fn take_sandbox(&self) -> Option<Sandbox> {
        self.lock().sandbox.take()
    }

    pub(crate) fn set_sandbox(&self, sandbox: Sandbox, addresses: Vec<IpAddr>) {
        let mut shared = self.lock();
        (shared.sandbox, shared.addresses) = (Some(sandbox), addresses);
    }
}

/// The class that the pod's group is in.
pub(crate) fn qos(pod: &Pod) -> Qos {
    match pod.qos_class() {
        QosClass::Guaranteed => Qos::Guaranteed,
        QosClass::Burstable => Qos::Burstable,
        QosClass::BestEffort => Qos::BestEffort,
    }
}

/// What the pod wants of the network.
fn request(pod: &Pod) -> Request {
    Request {
        id: pod.id.to_string(),
        name: pod.name.to_string(),
        namespace: pod.namespace.to_string(),
        uid: pod.id.to_string(),
        ports: ports(pod),
        ..Request::default()
    }
}

/// The pod's host ports, where it has a network of its own.
pub(crate) fn ports(pod: &Pod) -> Vec<PortMapping> {
    if pod.host_network {
        return Vec::new();
    }
    let mapping = |port: &Port| {
        Some(PortMapping {
            protocol: match port.protocol {
                auraed_types::pod::Protocol::Tcp => Protocol::Tcp,
                auraed_types::pod::Protocol::Udp => Protocol::Udp,
                auraed_types::pod::Protocol::Sctp => Protocol::Sctp,
            },
            host_address: port.host_ipv4(),
            host_port: port.host_port?,
            container_port: port.container_port,
        })
    };
    pod.host_ports().filter_map(|(_, port)| mapping(port)).collect()
}

/// Volumes in memory; none may hold more than the pod's memory limit, for what is in them counts against it.
fn tmpfs(pod: &Pod) -> Vec<Tmpfs> {
    let limit = spec::pod_limits(pod).memory_bytes;
    let mode = if pod.fs_group.is_some() {
        empty_directory::GROUP_MODE
    } else {
        empty_directory::MODE
    };
    let volumes = pod.volumes.iter().filter_map(|volume| match volume.source {
        VolumeSource::EmptyDirectory {
            memory: true,
            size_limit,
        } => {
            let size_bytes = [size_limit, limit].into_iter().flatten().min();
            Some(Tmpfs {
                name: volume.name.to_string(),
                size_bytes,
                mode,
                gid: pod.fs_group,
            })
        }
        _ => None,
    });
    volumes.collect()
}
