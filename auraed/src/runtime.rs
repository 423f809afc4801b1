//! The stateless executive: exec, signal and image calls; acts on what runs, remembers nothing.
//!
//! One file a call; this one is the table of contents. Called by the server alone. A program that exec started is the
//! pod's, not the daemon's: it goes on when the daemon stops, and is killed when its client goes away.

mod exec;
mod images;
pub mod sandboxes;
mod signal;
pub(crate) mod writable;

pub use images::Images;
pub use sandboxes::Sandboxes;

use crate::schedule::Engine;
use crate::server::status::Failure;
use auraed_api::runtime::v0 as api;
use auraed_api::runtime::v0::runtime_service_server::RuntimeService;
use std::pin::Pin;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

/// `aurae.runtime.v0.RuntimeService`.
#[derive(Clone)]
pub struct Runtime {
    engine: Engine,
}

impl Runtime {
    /// Acts on the engine's containers.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl RuntimeService for Runtime {
    type ExecStream = Pin<Box<dyn Stream<Item = Result<api::ExecResponse, Status>> + Send>>;

    async fn exec(
        &self,
        request: Request<Streaming<api::ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let answers = exec::exec(&self.engine, request.into_inner()).await?;
        Ok(Response::new(Box::pin(answers)))
    }

    async fn signal(
        &self,
        request: Request<api::SignalRequest>,
    ) -> Result<Response<api::SignalResponse>, Status> {
        signal::signal(&self.engine, request.into_inner()).await?;
        Ok(Response::new(api::SignalResponse {}))
    }

    type AttachStream = Pin<Box<dyn Stream<Item = Result<api::AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        _: Request<Streaming<api::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Err(Status::unimplemented("attach"))
    }

    type PortForwardStream = Pin<Box<dyn Stream<Item = Result<api::PortForwardResponse, Status>> + Send>>;

    async fn port_forward(
        &self,
        _: Request<Streaming<api::PortForwardRequest>>,
    ) -> Result<Response<Self::PortForwardStream>, Status> {
        Err(Status::unimplemented("port forward"))
    }

    async fn get_runtime(
        &self,
        _: Request<api::GetRuntimeRequest>,
    ) -> Result<Response<api::GetRuntimeResponse>, Status> {
        // Network and directories follow with their owners.
        Ok(Response::new(api::GetRuntimeResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network_ready: true,
            handlers: vec![api::RuntimeHandler {
                name: String::new(),
                recursive_read_only_mounts: true,
                user_namespaces: true,
            }],
            supplemental_groups_policy: true,
            ..api::GetRuntimeResponse::default()
        }))
    }
}

/// The container that a request is about.
fn named(container: Option<api::ContainerReference>) -> Result<api::ContainerReference, Failure> {
    container
        .filter(|container| !container.pod.is_empty())
        .ok_or_else(|| Failure::argument("container.pod", "must be an id, namespace/name or a unique name"))
}
