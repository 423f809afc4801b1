//! Certificates and kubeconfigs of the control plane, made by kubeadm from one configuration file.

use std::path::Path;
use std::process::Command;

use crate::home::{KUBERNETES_VERSION, built};
use crate::network::{ADDRESS, NetworkNamespace, SERVICES};
use crate::process::output;

/// Makes `pki/`, `admin.conf`, `controller-manager.conf` and `scheduler.conf` below `directory`.
pub(super) fn create(directory: &Path, network: &NetworkNamespace) -> anyhow::Result<()> {
    let config = directory.join("kubeadm.yaml");
    fs_err::write(&config, configuration(directory))?;
    let kubeadm = built("kubeadm")?;
    let phase = |words: &[&str]| -> anyhow::Result<()> {
        output(
            network
                .command(&kubeadm)
                .args(["init", "phase"])
                .args(words)
                .arg("--config")
                .arg(&config),
        )
        .map(drop)
    };
    phase(&["certs", "all"])?;
    let target = format!("--kubeconfig-dir={}", directory.display());
    for name in ["super-admin", "controller-manager", "scheduler"] {
        phase(&["kubeconfig", name, &target])?;
    }
    // The plain administrator gets its rights from a role binding that only a whole `kubeadm init` makes.
    fs_err::rename(directory.join("super-admin.conf"), directory.join("admin.conf"))?;
    Ok(())
}

/// A kubeconfig whose client certificate names `user` and `groups`.
pub(super) fn kubeconfig(directory: &Path, user: &str, groups: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(built("kubeadm")?);
    command
        .args(["kubeconfig", "user", "--client-name", user, "--config"])
        .arg(directory.join("kubeadm.yaml"));
    for group in groups {
        command.args(["--org", group]);
    }
    output(&mut command)
}

fn configuration(directory: &Path) -> String {
    format!(
        "apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {KUBERNETES_VERSION}
certificatesDir: {directory}/pki
encryptionAlgorithm: ECDSA-P256
networking:
  serviceSubnet: {SERVICES}
apiServer:
  certSANs: [\"127.0.0.1\"]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint:
  advertiseAddress: {ADDRESS}
  bindPort: 443
nodeRegistration:
  name: control-plane
",
        directory = directory.display()
    )
}
