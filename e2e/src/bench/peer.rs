//! kubelet with containerd, in the same network namespace and on the same control plane: what the node is measured
//! against.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use kube::Api;

use crate::cluster::Cluster;
use crate::containerd::{Containerd, Oci};
use crate::kubelet::Kubelet;
use crate::memory::{self, Weight};
use crate::network::address;
use crate::process::Program;
use crate::{node, sweep, wait};

/// The node's name.
pub(super) const NAME: &str = "kubelet";

/// A running pair.
pub(super) struct Peer {
    // In the order of stopping.
    kubelet: Program,
    containerd: Containerd,
    cgroup_root: String,
}

impl Peer {
    /// Starts both and waits until the node is Ready.
    pub(super) async fn join(cluster: &Cluster, tree: &Path) -> anyhow::Result<Self> {
        let scratch = cluster.scratch();
        let containerd = Containerd::start(scratch, cluster.network(), tree, "peer", Oci::Runc)?;
        let index = cluster.network().next_node()?;
        let kubelet = Kubelet {
            name: NAME.to_owned(),
            place: scratch.path().join("peer/kubelet"),
            runtime: containerd.socket(),
            address: address(index),
            health_port: 10300 + u16::from(index),
            cgroup_root: format!("{}-peer", scratch.name()),
            reserved: true,
        };
        kubelet.prepare(cluster)?;
        let launch = containerd.environment(kubelet.launch()?);
        let program = cluster
            .network()
            .spawner()
            .launch(&launch, &scratch.log("peer-kubelet"))?;
        let nodes = Api::<KubernetesNode>::all(cluster.client().await?);
        let ready = |node: Option<&KubernetesNode>| node.is_some_and(node::is_ready);
        let waited = wait::object(
            &nodes,
            NAME,
            Duration::from_secs(90),
            "the kubelet's node is Ready",
            ready,
        )
        .await;
        waited.with_context(|| format!("the end of its log:\n{}", program.tail(20)))?;
        Ok(Self {
            kubelet: program,
            containerd,
            cgroup_root: kubelet.cgroup_root,
        })
    }

    /// Of the daemons, and of what each pod needs beside its own program.
    pub(super) fn weight(&self) -> Vec<Weight> {
        let mut weights = vec![memory::of("kubelet", [self.kubelet.pid()])];
        weights.extend(self.containerd.weight());
        weights
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kubelet.kill();
        sweep::kill(&self.cgroup_root);
    }
}
