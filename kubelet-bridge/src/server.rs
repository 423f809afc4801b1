//! The kubelet's HTTPS API: what the API server and people with rights on `nodes` ask this node.
//!
//! One task accepts, one a connection serves. Every request but `/healthz`'s plain twin passes, in this order:
//!
//! ```text
//! TLS (client certificate asked for, not demanded) ─► authentication ─► authorization ─► the endpoint's file
//!      client CA, or a bearer token by TokenReview ───┘                  └─── SubjectAccessReview on nodes/<subresource>
//! ```
//!
//! The endpoints hold no state: pods come from [`Pods`], logs and streams from auraed. When the API server is away, whoever
//! is not in a cache is refused, as kubelet does.

use std::net::SocketAddr;
use std::sync::Arc;

use cri_shim_relay::Relay;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::aurae::Aurae;
use crate::cluster::Cluster;
use crate::flags::Settings;

mod attach;
mod authentication;
mod authorization;
mod cache;
mod certificate;
mod configz;
mod exec;
mod healthz;
mod listen;
mod logs;
mod pods;
mod port_forward;
mod refusal;
mod route;

pub use certificate::CertificateError;
pub use healthz::serve_healthz;

use authentication::Authentication;
use authorization::Authorization;

/// The pods of this node as the bridge knows them.
pub trait Pods: Send + Sync {
    /// All of them, each with the status last reported.
    fn list(&self) -> Vec<Arc<Pod>>;
    /// One by namespace and name, and by UID where one is given.
    fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>>;
}

/// Why the kubelet API cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: if another kubelet runs here, stop it or choose another --port")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The certificate, its key or the client CA cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// What all endpoints share.
struct Shared {
    configuration: Value,
    aurae: Aurae,
    relay: Relay,
    pods: Arc<dyn Pods>,
    authentication: Authentication,
    authorization: Authorization,
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    /// Where: the port is the real one where 0 was configured.
    pub address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Listens and serves from now on.
    ///
    /// # Errors
    /// [`ServerError`], before anything is served.
    pub async fn start(
        settings: &Settings,
        cluster: Cluster,
        aurae: Aurae,
        pods: Arc<dyn Pods>,
    ) -> Result<Server, ServerError> {
        let (node, configuration) = (&settings.node.name, configz::configuration(settings));
        let settings = &settings.server;
        let tls = certificate::server_config(settings, node)?;
        let listener = listen::bind(settings.listen).await?;
        let address = listener.local_addr().unwrap_or(settings.listen);
        let shared = Arc::new(Shared {
            configuration,
            relay: Relay::new(aurae.streams.clone()),
            aurae,
            pods,
            authentication: Authentication::new(cluster.clone()),
            authorization: Authorization::new(cluster, node.clone()),
        });
        let router = route::router(shared);
        let accepting = tokio::spawn(listen::accept(listener, Arc::new(tls), router));
        tracing::info!(%address, "serving the kubelet API");
        Ok(Server { address, accepting })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
