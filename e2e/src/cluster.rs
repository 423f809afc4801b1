//! A real control plane as plain programs: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, in the
//! network namespace of the run, with certificates by kubeadm. Ready in a few seconds; gone when dropped.
//!
//! No port is searched for: the namespace has them all free. The API server listens on 443, so that the cluster address
//! of the service `kubernetes`, which the namespace has on loopback, works without a proxy of services.

mod certificates;
mod control_plane;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};

use crate::kubectl::Kubectl;
use crate::network::NetworkNamespace;
use crate::process::Program;
use crate::scratch::Scratch;
use crate::wait;

/// A running control plane.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they are stopped.
    programs: Vec<Program>,
    kubectl: Kubectl,
    directory: PathBuf,
    network: Arc<NetworkNamespace>,
    scratch: Arc<Scratch>,
}

impl Cluster {
    /// Starts it, and returns when `/readyz` answers. The calling thread is moved into the cluster's network namespace.
    ///
    /// # Errors
    /// A program is not built, or one ends; with the end of its log.
    pub async fn start(scratch: &Arc<Scratch>, network: &Arc<NetworkNamespace>) -> anyhow::Result<Self> {
        let directory = scratch.path().join("cluster");
        fs_err::create_dir_all(&directory)?;
        certificates::create(&directory, network)?;
        let kubectl = Kubectl::new(
            directory.join("admin.conf"),
            network.pid(),
            scratch.path().to_owned(),
        )?;
        let mut cluster = Self {
            programs: Vec::new(),
            kubectl,
            directory,
            network: network.clone(),
            scratch: scratch.clone(),
        };
        for launch in control_plane::first(&cluster.directory)? {
            cluster.launch(&launch)?;
        }
        network.enter()?;
        cluster.ready().await?;
        cluster.bind_api_server().await?;
        for launch in control_plane::second(&cluster.directory)? {
            cluster.launch(&launch)?;
        }
        Ok(cluster)
    }

    fn launch(&mut self, launch: &crate::process::Launch) -> anyhow::Result<()> {
        let program = self
            .network
            .spawner()
            .launch(launch, &self.scratch.log(&launch.name))?;
        self.programs.insert(0, program);
        Ok(())
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let client = self.client().await?;
        wait::until(Duration::from_secs(120), "the API server", async || {
            for program in &self.programs {
                program.check()?;
            }
            let request = http_get("/readyz")?;
            Ok((client.request_text(request).await.context("asking /readyz")? == "ok").then_some(()))
        })
        .await
    }

    /// What a whole `kubeadm init` does: gives its rights to the user as whom the API server asks nodes.
    async fn bind_api_server(&self) -> anyhow::Result<()> {
        let binding: ClusterRoleBinding = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "kubeadm:apiserver-kubelet-client"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "kube-apiserver-kubelet-client"}],
        }))?;
        let created = Api::all(self.client().await?)
            .create(&Default::default(), &binding)
            .await;
        created.map(drop).context("binding the API server's own user")
    }

    /// A client with every right. The calling thread has to be in the cluster's namespace when requests are made.
    ///
    /// # Errors
    /// The kubeconfig cannot be read.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// kubectl with every right.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("admin.conf")
    }

    /// The cluster's certificate authority (PEM), with which nodes check the API server's requests.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("pki/ca.crt")
    }

    /// The network namespace it runs in.
    pub fn network(&self) -> &Arc<NetworkNamespace> {
        &self.network
    }

    /// The run it belongs to.
    pub fn scratch(&self) -> &Arc<Scratch> {
        &self.scratch
    }

    /// Writes a kubeconfig with a client certificate of its own.
    ///
    /// # Errors
    /// kubeadm fails.
    pub fn issue_kubeconfig(&self, user: &str, groups: &[&str], target: &Path) -> anyhow::Result<()> {
        fs_err::write(target, certificates::kubeconfig(&self.directory, user, groups)?)?;
        Ok(())
    }

    /// Names and pids of its programs.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.programs.iter()
    }

    /// Makes a namespace, and waits until pods may be created in it: the controller manager makes its service account
    /// and the certificate bundle that every pod mounts.
    ///
    /// # Errors
    /// The control plane does not do so in time.
    pub async fn create_namespace(&self, client: &Client, name: &str) -> anyhow::Result<()> {
        let namespace = Namespace {
            metadata: kube::core::ObjectMeta {
                name: Some(name.to_owned()),
                ..Default::default()
            },
            ..Default::default()
        };
        Api::<Namespace>::all(client.clone())
            .create(&Default::default(), &namespace)
            .await?;
        self.namespace_ready(client, name).await
    }

    /// Waits until pods may be created in a namespace.
    ///
    /// # Errors
    /// The control plane does not make what they need in time.
    pub async fn namespace_ready(&self, client: &Client, name: &str) -> anyhow::Result<()> {
        let patience = Duration::from_secs(60);
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), name);
        wait::object(&accounts, "default", patience, "the service account", |account| {
            account.is_some()
        })
        .await?;
        let bundles = Api::<ConfigMap>::namespaced(client.clone(), name);
        wait::object(
            &bundles,
            "kube-root-ca.crt",
            patience,
            "the root certificate",
            |bundle| bundle.is_some(),
        )
        .await?;
        Ok(())
    }
}

/// A GET request of a path, for [`Client::request_text`].
///
/// # Errors
/// The path is none.
pub fn http_get(path: &str) -> anyhow::Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path).body(Vec::new())?)
}
