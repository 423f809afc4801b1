//! The node's agent that is Kubernetes': kubelet, with cri-shim between it and auraed.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::{NOBODY, Node, PATIENCE, RESERVED, lock};
use crate::cluster::Cluster;
use crate::process::Launch;
use crate::{home, sweep, wait};

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
        let place = self.directory.join("shim");
        if !place.join("identity").exists() {
            fs_err::create_dir_all(&place)?;
            self.issue_identity("cri-shim", &place)?;
            self.give_to_nobody(&place)?;
        }
        self.start_agent("cri-shim", &self.shim_launch()?)?;
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
        let place = self.directory.join("kubelet");
        fs_err::create_dir_all(&place)?;
        let user = format!("system:node:{}", self.name());
        cluster.issue_kubeconfig(&user, &["system:nodes"], &place.join("kubeconfig"))?;
        sweep::make_cgroups(&self.kubelet_cgroup_root())?;
        fs_err::write(place.join("resolv.conf"), "nameserver 192.0.2.1\n")?;
        fs_err::write(place.join("config.yaml"), self.kubelet_configuration(cluster))?;
        Ok(())
    }

    /// Starts kubelet (again).
    ///
    /// # Errors
    /// It is not built, or cannot be started.
    pub fn start_kubelet(&self) -> anyhow::Result<()> {
        let place = self.directory.join("kubelet");
        let launch = Launch::new("kubelet", home::built("kubelet")?)
            .arg("--config")
            .arg(place.join("config.yaml"))
            .arg("--kubeconfig")
            .arg(place.join("kubeconfig"))
            .arg("--root-dir")
            .arg(place.join("root"))
            .arg("--cert-dir")
            .arg(place.join("pki"))
            .args(["--hostname-override", self.name()])
            .args(["--node-ip".to_owned(), self.address().to_string()]);
        self.start_agent("kubelet", &launch)
    }

    /// `kill -9` of kubelet.
    pub fn kill_kubelet(&self) {
        self.kill_agent("kubelet");
    }

    /// The directory of kubelet's pods below each cgroup hierarchy.
    pub fn kubelet_cgroup_root(&self) -> String {
        format!("{}-kubelet", self.cgroup_root)
    }

    fn kubelet_configuration(&self, cluster: &Cluster) -> String {
        let taints = if self.options.reserved {
            format!("registerWithTaints: [{{key: {RESERVED}, value: \"true\", effect: NoSchedule}}]\n")
        } else {
            String::new()
        };
        // Time-outs and intervals are kubelet's own. A machine of tests may have little room on its disk.
        format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {ca}}}}}
authorization: {{mode: Webhook}}
address: {address}
port: 10250
healthzPort: {healthz}
containerRuntimeEndpoint: unix://{socket}
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup_root}
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
maxPods: 250
podLogsDir: {place}/log
resolvConf: {place}/resolv.conf
evictionHard: {{memory.available: 1Mi, nodefs.available: 1Mi, imagefs.available: 1Mi}}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
{taints}",
            ca = cluster.ca().display(),
            place = self.directory.join("kubelet").display(),
            address = self.address(),
            healthz = 10300 + u16::from(self.index),
            socket = self.cri_socket().display(),
            cgroup_root = self.kubelet_cgroup_root(),
        )
    }
}
