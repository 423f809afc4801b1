//! The command lines of the control plane, as kubeadm's static pods have them, less what one node does not need.

use std::path::Path;

use crate::home::built;
use crate::network::{ADDRESS, SERVICES};
use crate::process::Launch;

const ETCD: &str = "http://127.0.0.1:2379";

/// etcd and the API server: the API server waits for etcd by itself.
pub(super) fn first(directory: &Path) -> anyhow::Result<Vec<Launch>> {
    Ok(vec![etcd(directory)?, api_server(directory)?])
}

/// The controllers, for when the API server answers.
pub(super) fn second(directory: &Path) -> anyhow::Result<Vec<Launch>> {
    Ok(vec![controller_manager(directory)?, scheduler(directory)?])
}

fn etcd(directory: &Path) -> anyhow::Result<Launch> {
    let data = directory.join("etcd");
    Ok(Launch::new("etcd", built("etcd")?)
        .arg("--data-dir")
        .arg(&data)
        .args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD])
        .args([
            "--listen-peer-urls",
            "http://127.0.0.1:2380",
            "--initial-advertise-peer-urls",
            "http://127.0.0.1:2380",
        ])
        .args([
            "--initial-cluster",
            "default=http://127.0.0.1:2380",
            "--log-level",
            "warn",
        ])
        // Nothing of a test survives the machine, so nothing has to.
        .arg("--unsafe-no-fsync"))
}

fn api_server(directory: &Path) -> anyhow::Result<Launch> {
    let pki = directory.join("pki");
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.join(name).display());
    Ok(Launch::new("kube-apiserver", built("kube-apiserver")?)
        .args([
            format!("--advertise-address={ADDRESS}"),
            "--secure-port=443".to_owned(),
            format!("--etcd-servers={ETCD}"),
            format!("--service-cluster-ip-range={SERVICES}"),
            format!("--cert-dir={}", directory.join("run").display()),
        ])
        .args([
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--enable-bootstrap-token-auth=true",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        ])
        .args([
            file("client-ca-file", "ca.crt"),
            file("tls-cert-file", "apiserver.crt"),
            file("tls-private-key-file", "apiserver.key"),
            file("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
            file("kubelet-client-key", "apiserver-kubelet-client.key"),
            file("proxy-client-cert-file", "front-proxy-client.crt"),
            file("proxy-client-key-file", "front-proxy-client.key"),
            file("requestheader-client-ca-file", "front-proxy-ca.crt"),
            file("service-account-key-file", "sa.pub"),
            file("service-account-signing-key-file", "sa.key"),
        ]))
}

fn controller_manager(directory: &Path) -> anyhow::Result<Launch> {
    let pki = directory.join("pki");
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.join(name).display());
    let config = directory.join("controller-manager.conf");
    Ok(
        Launch::new("kube-controller-manager", built("kube-controller-manager")?)
            .args(
                [
                    "kubeconfig",
                    "authentication-kubeconfig",
                    "authorization-kubeconfig",
                ]
                .map(|flag| format!("--{flag}={}", config.display())),
            )
            // At the default of 20 requests a second it spends five seconds on its own service accounts.
            .args(["--kube-api-qps=500", "--kube-api-burst=1000"])
            .args([
                "--leader-elect=false",
                "--use-service-account-credentials=true",
                "--controllers=*,bootstrap-signer-controller,token-cleaner-controller",
            ])
            .args([
                file("root-ca-file", "ca.crt"),
                file("client-ca-file", "ca.crt"),
                file("requestheader-client-ca-file", "front-proxy-ca.crt"),
                file("cluster-signing-cert-file", "ca.crt"),
                file("cluster-signing-key-file", "ca.key"),
                file("service-account-private-key-file", "sa.key"),
            ])
            .arg(format!("--cert-dir={}", directory.join("run").display())),
    )
}

fn scheduler(directory: &Path) -> anyhow::Result<Launch> {
    let config = directory.join("scheduler.conf");
    Ok(Launch::new("kube-scheduler", built("kube-scheduler")?)
        .args(
            [
                "kubeconfig",
                "authentication-kubeconfig",
                "authorization-kubeconfig",
            ]
            .map(|flag| format!("--{flag}={}", config.display())),
        )
        .args([
            "--leader-elect=false",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ])
        .arg(format!("--cert-dir={}", directory.join("run").display())))
}
