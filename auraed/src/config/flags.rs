//! The flags that override the file.

use super::{File, LogFormat};
use crate::network::Mode;
use clap::Args;
use std::path::PathBuf;

/// Flags that every command takes; each overrides the field of the same name in the file.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// Configuration file in TOML [default: /etc/aurae/auraed.toml, if it is there].
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What outlives a boot: state file, identity, images, volumes on disk [default: /var/lib/aurae].
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// Sockets and what may be in memory only [default: /run/aurae].
    #[arg(long, value_name = "DIR", global = true)]
    pub run_dir: Option<PathBuf>,
    /// Logs of the containers [default: /var/log/pods].
    #[arg(long, value_name = "DIR", global = true)]
    pub log_dir: Option<PathBuf>,
    /// Unix socket of the API [default: aurae.sock in the run directory].
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
    /// Directory below each cgroup hierarchy [default: aurae].
    #[arg(long, value_name = "NAME", global = true)]
    pub cgroup_root: Option<String>,
    /// Who makes pods' networks [default: auto].
    #[arg(long, value_name = "MODE", global = true)]
    pub network_mode: Option<Mode>,
    /// Configurations of CNI plugins [default: /etc/cni/net.d].
    #[arg(long, value_name = "DIR", global = true)]
    pub cni_config_dir: Option<PathBuf>,
    /// CNI plugins; may be given several times [default: /opt/cni/bin, /usr/lib/cni].
    #[arg(long, value_name = "DIR", global = true)]
    pub cni_bin_dir: Option<Vec<PathBuf>>,
    /// Addresses of pods, whatever the cluster assigns [default: those that it assigns, before that 10.88.0.0/16].
    #[arg(long, value_name = "CIDR", global = true)]
    pub pod_subnet: Option<String>,
    /// Bridge of the pod network [default: aurae0].
    #[arg(long, value_name = "NAME", global = true)]
    pub bridge: Option<String>,
    /// nftables table of the pod network [default: aurae].
    #[arg(long, value_name = "NAME", global = true)]
    pub table: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or a filter as auraed=debug,info [default: info].
    #[arg(long, value_name = "FILTER", global = true)]
    pub log_level: Option<String>,
    /// Form of the log [default: text].
    #[arg(long, value_name = "FORM", global = true)]
    pub log_format: Option<LogFormat>,
}

impl Flags {
    pub(super) fn put_over(&self, file: &mut File) {
        put(&mut file.state_dir, &self.state_dir);
        put(&mut file.run_dir, &self.run_dir);
        put(&mut file.log_dir, &self.log_dir);
        put(&mut file.socket, &self.socket);
        put(&mut file.cgroup_root, &self.cgroup_root);
        put(&mut file.network.mode, &self.network_mode);
        put(&mut file.network.cni_config_dir, &self.cni_config_dir);
        put(&mut file.network.cni_bin_dirs, &self.cni_bin_dir);
        put(&mut file.network.subnet, &self.pod_subnet);
        put(&mut file.network.bridge, &self.bridge);
        put(&mut file.network.table, &self.table);
        put(&mut file.log.level, &self.log_level);
        put(&mut file.log.format, &self.log_format);
    }
}

fn put<T: Clone>(field: &mut Option<T>, flag: &Option<T>) {
    if flag.is_some() {
        field.clone_from(flag);
    }
}
