//! What the node and its pods say and do: facts, logs, events, timelines. Reads; changes nothing.
//!
//! Called by the server alone. One file a call; this one is the table of contents. Streams end when their client goes
//! away, when their pod ends (logs), or when the daemon stops.

mod events;
mod logs;
mod node;

pub use logs::{LogError, LogWatcher};
pub use node::{Node, NodeError};

use crate::network::PodNetwork;
use crate::schedule::Engine;
use crate::server::status::Failure;
use auraed_api::observe::v0 as api;
use auraed_api::observe::v0::observe_service_server::ObserveService;
use auraed_types::status::to_wire_time;
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

/// `aurae.observe.v0.ObserveService`.
#[derive(Clone)]
pub struct Observe {
    engine: Engine,
    network: PodNetwork,
    node: Arc<Node>,
    watcher: LogWatcher,
}

impl Observe {
    /// Tells of the engine's pods, of the node, and whether pods can be attached to its network.
    #[must_use]
    pub fn new(engine: Engine, network: PodNetwork, node: Node, watcher: LogWatcher) -> Self {
        Self {
            engine,
            network,
            node: Arc::new(node),
            watcher,
        }
    }
}

#[tonic::async_trait]
impl ObserveService for Observe {
    type LogsStream = Pin<Box<dyn Stream<Item = Result<api::LogsResponse, Status>> + Send>>;
    type EventsStream = Pin<Box<dyn Stream<Item = Result<api::EventsResponse, Status>> + Send>>;

    async fn get_node(
        &self,
        _: Request<api::GetNodeRequest>,
    ) -> Result<Response<api::GetNodeResponse>, Status> {
        let mut facts = self.node.read().map_err(Failure::from)?;
        let subnet = self.network.subnet().await;
        facts.pod_subnet = subnet.map(|subnet| subnet.to_string()).unwrap_or_default();
        // Without any network on purpose there is nothing wrong.
        if self.network.exists()
            && let Err(problem) = self.network.status().await
        {
            facts.problems.push(problem);
        }
        Ok(Response::new(facts))
    }

    async fn logs(&self, request: Request<api::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let lines = logs::logs(&self.engine, &self.watcher, request.into_inner())?;
        Ok(Response::new(Box::pin(lines)))
    }

    async fn events(
        &self,
        request: Request<api::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let events = events::events(&self.engine, request.into_inner())?;
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_timeline(
        &self,
        request: Request<api::GetTimelineRequest>,
    ) -> Result<Response<api::GetTimelineResponse>, Status> {
        let timeline = self
            .engine
            .timeline(&request.get_ref().pod)
            .map_err(Failure::from)?;
        Ok(Response::new(api::GetTimelineResponse {
            accepted_at: Some(to_wire_time(timeline.accepted_at)),
            steps: timeline.steps.iter().map(Into::into).collect(),
        }))
    }
}
