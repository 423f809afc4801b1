//! The command line, named as kubelet's where kubelet has the flag, and the settings that it means.
//!
//! Everything is read and checked here, once, in `main`; what comes out ([`Settings`]) is plain values. A wrong value
//! ends the program with the flag's name and what to write instead.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

mod parse;

/// Joins this machine to a Kubernetes cluster as a node that runs its pods with auraed.
///
/// Without --kubeconfig it runs the pods of --pod-manifest-path alone.
#[derive(Clone, Debug, Parser)]
#[command(name = "kubelet-bridge", version, max_term_width = 100)]
pub struct Flags {
    /// The cluster and who this node is to it: server, CA, and a client certificate or a token.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The node's name [default: this machine's host name].
    #[arg(long, value_name = "NAME")]
    hostname_override: Option<String>,
    /// The node's address, or two of both families [default: the default route's].
    #[arg(long, value_name = "IP[,IP]", value_delimiter = ',')]
    node_ip: Vec<IpAddr>,
    /// Labels to set on the node, as `key=value,…`.
    #[arg(long, value_name = "LABELS", value_delimiter = ',')]
    node_labels: Vec<String>,
    /// Taints to register the node with, as `key=value:Effect,…`.
    #[arg(long, value_name = "TAINTS", value_delimiter = ',')]
    register_with_taints: Vec<String>,
    /// Create the Node object; `false` expects that somebody else does.
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    register_node: bool,
    /// Where the kubelet API listens.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    address: IpAddr,
    /// The kubelet API's port; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 10250)]
    port: u16,
    /// Where plain-text /healthz listens.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    healthz_bind_address: IpAddr,
    /// The port of plain-text /healthz; 0 turns it off.
    #[arg(long, value_name = "PORT", default_value_t = 10248)]
    healthz_port: u16,
    /// The kubelet API's certificate; without it one is made in --cert-dir.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// The key of --tls-cert-file.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    tls_private_key_file: Option<PathBuf>,
    /// Where certificates that this program makes are kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet-bridge/pki")]
    cert_dir: PathBuf,
    /// Clients with a certificate of this CA are who their certificate says.
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Name servers for pods with dnsPolicy ClusterFirst.
    #[arg(long, value_name = "IPS", value_delimiter = ',')]
    cluster_dns: Vec<IpAddr>,
    /// The cluster's DNS domain.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// A file or a directory of manifests whose pods run here, cluster or not.
    #[arg(long, value_name = "PATH")]
    pod_manifest_path: Option<PathBuf>,
    /// The most pods at once.
    #[arg(long, value_name = "N", default_value_t = 110)]
    max_pods: u32,
    /// What is kept for the system, as `cpu=200m,memory=150Mi`.
    #[arg(long, value_name = "RESOURCES", value_delimiter = ',')]
    system_reserved: Vec<String>,
    /// What is kept for the node's own daemons, as --system-reserved.
    #[arg(long, value_name = "RESOURCES", value_delimiter = ',')]
    kube_reserved: Vec<String>,
    /// How often the node's status is computed, as `10s` or `1m`.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse::duration)]
    node_status_update_frequency: Duration,
    /// The node's id at a cloud, for spec.providerID.
    #[arg(long, value_name = "ID")]
    provider_id: Option<String>,
    /// Pods without a seccomp profile get RuntimeDefault instead of Unconfined.
    #[arg(long)]
    seccomp_default: bool,
    /// Sysctls beside the safe ones that pods may set, as `kernel.msg*,net.core.somaxconn`.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    allowed_unsafe_sysctls: Vec<String>,
    /// auraed's socket.
    #[arg(long, value_name = "SOCKET", default_value = "/run/aurae/aurae.sock")]
    aurae_socket: PathBuf,
    /// Who this program is to auraed: a directory with tls.crt, tls.key and ca.crt (`auraed identity issue`).
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet-bridge/identity")]
    aurae_identity: PathBuf,
    /// How much to log: 2 is usual, 4 tells of every pod, 6 of every request.
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 2)]
    pub verbosity: u8,
}

/// What the command line means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// None: no cluster, manifests alone.
    pub kubeconfig: Option<PathBuf>,
    /// The node.
    pub node: NodeSettings,
    /// The kubelet API.
    pub server: ServerSettings,
    /// Where plain-text /healthz listens; none means nowhere.
    pub healthz: Option<SocketAddr>,
    /// A file or directory of manifests.
    pub manifests: Option<PathBuf>,
    /// auraed's socket.
    pub aurae_socket: PathBuf,
    /// Our identity to auraed.
    pub aurae_identity: PathBuf,
}

/// What the node is told to be.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Lower case.
    pub name: String,
    /// Empty: found out.
    pub addresses: Vec<IpAddr>,
    /// Set at creation and kept.
    pub labels: BTreeMap<String, String>,
    /// Set at creation alone.
    pub taints: Vec<Taint>,
    /// Whether to create the Node object.
    pub register: bool,
    /// `spec.providerID`.
    pub provider_id: Option<String>,
    /// The most pods at once.
    pub max_pods: u32,
    /// system- and kube-reserved together.
    pub reserved: BTreeMap<String, Quantity>,
    /// How often the status is computed.
    pub status_period: Duration,
    /// For ClusterFirst.
    pub cluster_dns: Vec<IpAddr>,
    /// For ClusterFirst.
    pub cluster_domain: String,
    /// RuntimeDefault for pods that name no profile.
    pub seccomp_default: bool,
    /// Sysctls beside the safe ones.
    pub allowed_unsafe_sysctls: Vec<String>,
}

/// Where and as whom the kubelet API serves.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate and key files.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Where a certificate of our own is kept.
    pub directory: PathBuf,
    /// Whose client certificates count.
    pub client_ca: Option<PathBuf>,
}

/// Why a command line cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlagsError {
    /// A value does not read.
    #[error("--{flag}: {reason}")]
    Value {
        /// Without dashes.
        flag: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// Nothing to do.
    #[error(
        "neither --kubeconfig nor --pod-manifest-path is given: name the cluster's kubeconfig, or a directory of manifests to run without a cluster"
    )]
    Nothing,
    /// A file is not there or not readable.
    #[error("--{flag}: cannot read {}", path.display())]
    Unreadable {
        /// Without dashes.
        flag: &'static str,
        /// As given.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Flags {
    /// Checks every value.
    pub fn settings(self) -> Result<Settings, FlagsError> {
        if self.kubeconfig.is_none() && self.pod_manifest_path.is_none() {
            return Err(FlagsError::Nothing);
        }
        if let Some(path) = &self.pod_manifest_path {
            fs_err::metadata(path).map_err(|source| FlagsError::Unreadable {
                flag: "pod-manifest-path",
                path: path.clone(),
                source,
            })?;
        }
        let server = ServerSettings {
            listen: SocketAddr::new(self.address, self.port),
            certificate: self.tls_cert_file.clone().zip(self.tls_private_key_file.clone()),
            directory: self.cert_dir.clone(),
            client_ca: self.client_ca_file.clone(),
        };
        Ok(Settings {
            kubeconfig: self.kubeconfig.clone(),
            healthz: (self.healthz_port != 0)
                .then(|| SocketAddr::new(self.healthz_bind_address, self.healthz_port)),
            manifests: self.pod_manifest_path.clone(),
            aurae_socket: self.aurae_socket.clone(),
            aurae_identity: self.aurae_identity.clone(),
            node: self.node()?,
            server,
        })
    }

    fn node(self) -> Result<NodeSettings, FlagsError> {
        let name = match self.hostname_override {
            Some(name) => name,
            None => host_name(),
        };
        let name = parse::node_name(&name).map_err(value("hostname-override"))?;
        let mut reserved = parse::resources(&self.system_reserved).map_err(value("system-reserved"))?;
        for (resource, quantity) in parse::resources(&self.kube_reserved).map_err(value("kube-reserved"))? {
            let sum = match reserved.get(&resource) {
                Some(already) => parse::sum(already, &quantity).map_err(value("kube-reserved"))?,
                None => quantity,
            };
            reserved.insert(resource, sum);
        }
        Ok(NodeSettings {
            name,
            addresses: parse::addresses(self.node_ip).map_err(value("node-ip"))?,
            labels: parse::labels(&self.node_labels).map_err(value("node-labels"))?,
            taints: parse::taints(&self.register_with_taints).map_err(value("register-with-taints"))?,
            register: self.register_node,
            provider_id: self.provider_id.filter(|id| !id.is_empty()),
            max_pods: self.max_pods,
            reserved,
            status_period: self.node_status_update_frequency,
            cluster_dns: self.cluster_dns,
            cluster_domain: self.cluster_domain.trim_end_matches('.').to_owned(),
            seccomp_default: self.seccomp_default,
            allowed_unsafe_sysctls: self.allowed_unsafe_sysctls,
        })
    }
}

fn value(flag: &'static str) -> impl Fn(String) -> FlagsError {
    move |reason| FlagsError::Value { flag, reason }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings, FlagsError> {
        let all = ["kubelet-bridge", "--kubeconfig", "k"].iter().chain(arguments);
        Flags::try_parse_from(all).expect("flags parse").settings()
    }

    #[test]
    fn reserved_resources_add_up() {
        let settings = settings(&[
            "--system-reserved",
            "cpu=200m,memory=1Gi",
            "--kube-reserved",
            "cpu=300m",
        ]);
        let node = settings.expect("flags are right").node;
        assert_eq!(node.reserved["cpu"], Quantity("500m".into()));
        assert_eq!(node.reserved["memory"], Quantity("1Gi".into()));
    }

    #[test]
    fn names_are_lower_case_and_checked() {
        assert_eq!(
            settings(&["--hostname-override", "Node-A"])
                .expect("a name")
                .node
                .name,
            "node-a"
        );
        let error = settings(&["--hostname-override", "no de"]).expect_err("a space is refused");
        assert!(error.to_string().starts_with("--hostname-override: "), "{error}");
    }

    #[test]
    fn without_cluster_and_manifests_there_is_nothing_to_do() {
        let flags = Flags::try_parse_from(["kubelet-bridge"]).expect("flags parse");
        assert!(matches!(flags.settings(), Err(FlagsError::Nothing)));
    }

    #[test]
    fn register_node_takes_kubelets_forms() {
        assert!(settings(&["--register-node"]).expect("bare").node.register);
        assert!(!settings(&["--register-node=false"]).expect("false").node.register);
    }

    #[test]
    fn durations_are_gos() {
        let settings = settings(&["--node-status-update-frequency", "1m30s"]).expect("a duration");
        assert_eq!(settings.node.status_period, Duration::from_secs(90));
    }
}
