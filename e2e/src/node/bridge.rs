//! The node's agent that is this project's: kubelet-bridge, as an ordinary user.

use std::path::PathBuf;

use super::{NOBODY, Node, RESERVED};
use crate::cluster::Cluster;
use crate::process::Launch;

impl Node {
    /// Gives the bridge what it needs to join, and says where its kubeconfig is.
    ///
    /// # Errors
    /// kubeadm or auraed fails.
    pub fn prepare_join(&self, cluster: &Cluster) -> anyhow::Result<PathBuf> {
        let bridge = self.directory.join("bridge");
        let kubeconfig = bridge.join("kubeconfig");
        let user = format!("system:node:{}", self.name());
        cluster.issue_kubeconfig(&user, &["system:nodes"], &kubeconfig)?;
        // The authority's directory is root's.
        fs_err::copy(cluster.ca(), bridge.join("ca.crt"))?;
        self.issue_identity("kubelet-bridge", &bridge)?;
        self.give_to_nobody(&bridge)?;
        Ok(kubeconfig)
    }

    /// The bridge's command line, for tests that change it.
    ///
    /// # Errors
    /// It is not built.
    pub fn bridge_launch(&self) -> anyhow::Result<Launch> {
        let bridge = self.directory.join("bridge");
        let port = 10300 + u16::from(self.index);
        let mut launch = Launch::new("kubelet-bridge", self.public("kubelet-bridge")?)
            .user(NOBODY.0, NOBODY.1)
            .args(["--hostname-override", self.name(), "-v", "4"])
            .args([
                "--node-ip".to_owned(),
                self.address().to_string(),
                "--address".to_owned(),
                self.address().to_string(),
            ])
            .args(["--healthz-port".to_owned(), port.to_string()])
            .arg("--cert-dir")
            .arg(bridge.join("pki"))
            .arg("--aurae-socket")
            .arg(self.socket())
            .arg("--aurae-identity")
            .arg(bridge.join("identity"));
        let kubeconfig = bridge.join("kubeconfig");
        if kubeconfig.exists() {
            launch = launch
                .arg("--kubeconfig")
                .arg(kubeconfig)
                .arg("--client-ca-file")
                .arg(bridge.join("ca.crt"));
        }
        if self.options.reserved {
            launch = launch
                .arg("--register-with-taints")
                .arg(format!("{RESERVED}=true:NoSchedule"));
        }
        Ok(launch)
    }

    /// Starts kubelet-bridge (again).
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_bridge(&self) -> anyhow::Result<()> {
        let launch = self.bridge_launch()?;
        self.start_agent("kubelet-bridge", &launch)
    }

    /// Starts kubelet-bridge without a cluster, for the manifests in the node's directory `manifests`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_standalone_bridge(&self) -> anyhow::Result<()> {
        self.issue_identity("kubelet-bridge", &self.directory.join("bridge"))?;
        self.give_to_nobody(&self.directory.join("bridge"))?;
        let launch = self
            .bridge_launch()?
            .arg("--pod-manifest-path")
            .arg(self.directory.join("manifests"));
        self.start_agent("kubelet-bridge", &launch)
    }

    /// `kill -9` of kubelet-bridge.
    pub fn kill_bridge(&self) {
        self.kill_agent("kubelet-bridge");
    }
}
