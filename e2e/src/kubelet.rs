//! Kubernetes' kubelet on any CRI runtime, with directories and cgroups of the run.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::process::Launch;
use crate::{home, node, sweep};

/// A kubelet to start.
#[derive(Debug, Clone)]
pub struct Kubelet {
    /// The node's name.
    pub name: String,
    /// Everything of it is below; made if missing.
    pub place: PathBuf,
    /// Where its runtime serves the CRI.
    pub runtime: PathBuf,
    /// The node's address.
    pub address: Ipv4Addr,
    /// Where `/healthz` is, on loopback.
    pub health_port: u16,
    /// The directory of its pods below each cgroup hierarchy.
    pub cgroup_root: String,
    /// Registered with a taint, so that the scheduler leaves it alone.
    pub reserved: bool,
}

impl Kubelet {
    /// Makes its directories, cgroups, credentials and configuration.
    ///
    /// # Errors
    /// kubeadm fails, or one of them cannot be made.
    pub fn prepare(&self, cluster: &Cluster) -> anyhow::Result<()> {
        fs_err::create_dir_all(&self.place)?;
        let user = format!("system:node:{}", self.name);
        cluster.issue_kubeconfig(&user, &["system:nodes"], &self.place.join("kubeconfig"))?;
        sweep::make_cgroups(&self.cgroup_root)?;
        fs_err::write(self.place.join("resolv.conf"), "nameserver 192.0.2.1\n")?;
        fs_err::write(self.place.join("config.yaml"), self.configuration(cluster))?;
        Ok(())
    }

    /// Its command line.
    ///
    /// # Errors
    /// It is not built.
    pub fn launch(&self) -> anyhow::Result<Launch> {
        Ok(Launch::new("kubelet", home::built("kubelet")?)
            .arg("--config")
            .arg(self.place.join("config.yaml"))
            .arg("--kubeconfig")
            .arg(self.place.join("kubeconfig"))
            .arg("--root-dir")
            .arg(self.place.join("root"))
            .arg("--cert-dir")
            .arg(self.place.join("pki"))
            .args(["--hostname-override", &self.name])
            .args(["--node-ip".to_owned(), self.address.to_string()]))
    }

    /// Time-outs and intervals are kubelet's own; a machine of tests may have little room on its disk.
    fn configuration(&self, cluster: &Cluster) -> String {
        let taints = if self.reserved {
            format!(
                "registerWithTaints: [{{key: {}, value: \"true\", effect: NoSchedule}}]\n",
                node::RESERVED
            )
        } else {
            String::new()
        };
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
clusterDomain: cluster.local
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
            place = self.place.display(),
            address = self.address,
            healthz = self.health_port,
            socket = self.runtime.display(),
            cgroup_root = self.cgroup_root,
        )
    }
}
