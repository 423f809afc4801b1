//! The stateless executive: exec, attach, port-forward, signal and image calls; acts on what runs, remembers nothing.
//!
//! One file a call; this one is the table of contents. Called by the server alone. A program that exec started is the
//! pod's, not the daemon's: it goes on when the daemon stops, and is killed when its client goes away.

mod attach;
mod cdi;
mod exec;
mod images;
mod info;
mod output;
mod port_forward;
pub mod sandboxes;
mod signal;
mod subnets;
mod target;
pub(crate) mod writable;

pub use images::Images;
pub use info::About;
pub(crate) use port_forward::DialError;
pub use sandboxes::Sandboxes;

use crate::schedule::Engine;
use auraed_api::runtime::v0 as api;
use auraed_api::runtime::v0::runtime_service_server::RuntimeService;
use auraed_sandbox::TerminalSize;
use std::pin::Pin;
use target::Targets;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

/// `aurae.runtime.v0.RuntimeService`.
#[derive(Clone)]
pub struct Runtime {
    targets: Targets,
    about: About,
}

impl Runtime {
    /// Acts on the containers of the engine and of the executive.
    #[must_use]
    pub fn new(engine: Engine, sandboxes: Sandboxes, about: About) -> Self {
        Self {
            targets: Targets::new(engine, sandboxes),
            about,
        }
    }
}

#[tonic::async_trait]
impl RuntimeService for Runtime {
    type ExecStream = Pin<Box<dyn Stream<Item = Result<api::ExecResponse, Status>> + Send>>;

    async fn exec(
        &self,
        request: Request<Streaming<api::ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let answers = exec::exec(&self.targets, request.into_inner()).await?;
        Ok(Response::new(Box::pin(answers)))
    }

    async fn signal(
        &self,
        request: Request<api::SignalRequest>,
    ) -> Result<Response<api::SignalResponse>, Status> {
        signal::signal(&self.targets, request.into_inner()).await?;
        Ok(Response::new(api::SignalResponse {}))
    }

    type AttachStream = Pin<Box<dyn Stream<Item = Result<api::AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<api::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let answers = attach::attach(&self.targets, request.into_inner()).await?;
        Ok(Response::new(Box::pin(answers)))
    }

    type PortForwardStream = Pin<Box<dyn Stream<Item = Result<api::PortForwardResponse, Status>> + Send>>;

    async fn port_forward(
        &self,
        request: Request<Streaming<api::PortForwardRequest>>,
    ) -> Result<Response<Self::PortForwardStream>, Status> {
        let answers = port_forward::port_forward(&self.targets, request.into_inner()).await?;
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get_runtime(
        &self,
        _: Request<api::GetRuntimeRequest>,
    ) -> Result<Response<api::GetRuntimeResponse>, Status> {
        Ok(Response::new(info::info(&self.about).await))
    }

    async fn assign_pod_subnets(
        &self,
        request: Request<api::AssignPodSubnetsRequest>,
    ) -> Result<Response<api::AssignPodSubnetsResponse>, Status> {
        let assigned = subnets::assign(&self.about, request.into_inner()).await?;
        Ok(Response::new(assigned))
    }
}

/// A terminal's size is 16 bits in the kernel.
fn terminal_size(size: api::TerminalSize) -> TerminalSize {
    let clamp = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    TerminalSize {
        columns: clamp(size.width),
        rows: clamp(size.height),
    }
}
