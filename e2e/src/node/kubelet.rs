//! The node's agent that is Kubernetes': kubelet, with cri-shim between it and auraed.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::{NOBODY, Node, PATIENCE, lock};
use crate::cluster::Cluster;
use crate::kubelet::Kubelet;
use crate::process::Launch;
use crate::wait;

impl Node {
    /// Where the CRI is served.
    pub fn cri_socket(&self) -> PathBuf {
        self.directory.join("shim/cri.sock")
    }

    /// cri-shim's command line, for tests that change it.
    ///
    /// # Errors
    /// It is not built.
    pub fn shim_launch(&self) -> anyhow::Result<Launch> {
        Ok(Launch::new("cri-shim", self.public("cri-shim")?)
            .user(NOBODY.0, NOBODY.1)
            .arg("--listen")
            .arg(format!("unix://{}", self.cri_socket().display()))
            .arg("--aurae-socket")
            .arg(self.socket())
            .arg("--aurae-identity")
            .arg(self.directory.join("shim/identity")))
    }

    /// Starts cri-shim (again), and returns when it listens.
    ///
    /// # Errors
    /// It ends, or does not listen in time.
    pub fn start_shim(&self) -> anyhow::Result<()> {
        self.start_shim_with(&[])
    }

    /// The same with further arguments.
    ///
    /// # Errors
    /// As [`Node::start_shim`].
    pub fn start_shim_with(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let place = self.directory.join("shim");
        if !place.join("identity").exists() {
            fs_err::create_dir_all(&place)?;
            self.issue_identity("cri-shim", &place)?;
            self.give_to_nobody(&place)?;
        }
        self.start_agent("cri-shim", &self.shim_launch()?.args(arguments))?;
        wait::blocking(PATIENCE, "cri-shim's socket", || {
            if let Some((_, program)) = lock(&self.agents).iter().find(|(name, _)| *name == "cri-shim") {
                program.check()?;
            }
            Ok(UnixStream::connect(self.cri_socket()).ok())
        })
        .map(drop)
    }

    /// `kill -9` of cri-shim.
    pub fn kill_shim(&self) {
        self.kill_agent("cri-shim");
    }

    /// Gives kubelet what it needs to join.
    ///
    /// # Errors
    /// kubeadm fails, or the cgroups cannot be made.
    pub fn prepare_kubelet(&self, cluster: &Cluster) -> anyhow::Result<()> {
        self.kubelet().prepare(cluster)
    }

    /// Starts kubelet (again).
    ///
    /// # Errors
    /// It is not built, or cannot be started.
    pub fn start_kubelet(&self) -> anyhow::Result<()> {
        self.start_agent("kubelet", &self.kubelet().launch()?)
    }

    /// `kill -9` of kubelet.
    pub fn kill_kubelet(&self) {
        self.kill_agent("kubelet");
    }

    fn kubelet(&self) -> Kubelet {
        Kubelet {
            name: self.name().to_owned(),
            place: self.directory.join("kubelet"),
            runtime: self.cri_socket(),
            address: self.address(),
            health_port: 10300 + u16::from(self.index),
            cgroup_root: format!("{}-kubelet", self.cgroup_root),
            reserved: self.options.reserved,
        }
    }
}
