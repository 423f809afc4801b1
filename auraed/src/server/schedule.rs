//! `aurae.schedule.v0.ScheduleService` over the engine: messages in, values checked, messages out.

use super::status::Failure;
use crate::runtime::Sandboxes;
use crate::runtime::sandboxes::SandboxError;
use crate::schedule::{Change, Engine, Watch};
use auraed_api::schedule::v0 as api;
use auraed_api::schedule::v0::schedule_service_server::ScheduleService;
use auraed_types::Pod;
use std::pin::Pin;
use std::time::Duration;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub(crate) struct Schedule {
    engine: Engine,
    /// Whose ids are taken, too.
    sandboxes: Sandboxes,
}

impl Schedule {
    pub(crate) fn new(engine: Engine, sandboxes: Sandboxes) -> Self {
        Self { engine, sandboxes }
    }
}

#[tonic::async_trait]
impl ScheduleService for Schedule {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<api::WatchResponse, Status>> + Send>>;

    async fn now(&self, request: Request<api::NowRequest>) -> Result<Response<api::NowResponse>, Status> {
        let pod = pod(request.into_inner().pod)?;
        if self.sandboxes.has(pod.id.as_str()) {
            return Err(Failure::from(SandboxError::Foreign {
                id: pod.id.to_string(),
                what: "sandbox",
            })
            .into_status());
        }
        let status = self.engine.now(pod).await.map_err(Failure::from)?;
        Ok(Response::new(api::NowResponse {
            status: Some(status.as_ref().into()),
        }))
    }

    async fn plan(&self, request: Request<api::PlanRequest>) -> Result<Response<api::PlanResponse>, Status> {
        // A pod that is not valid is an answer here, not a failure.
        let answer = match pod(request.into_inner().pod) {
            Ok(pod) => api::PlanResponse::from(&self.engine.plan(&pod)),
            Err(Failure::Pod(invalid)) => {
                let refusals = invalid.into_problems().into_iter();
                let refusals = refusals.map(|problem| api::Refusal {
                    field: problem.field,
                    reason: problem.reason,
                });
                api::PlanResponse {
                    steps: Vec::new(),
                    refusals: refusals.collect(),
                }
            }
            Err(failure) => return Err(failure.into_status()),
        };
        Ok(Response::new(answer))
    }

    async fn stop(&self, request: Request<api::StopRequest>) -> Result<Response<api::StopResponse>, Status> {
        let api::StopRequest {
            pod,
            grace_period_seconds,
        } = request.into_inner();
        let reference = reference(&pod)?;
        let grace = grace_period_seconds.map(Duration::from_secs);
        let status = self.engine.stop(reference, grace).await.map_err(Failure::from)?;
        Ok(Response::new(api::StopResponse {
            status: status.map(|status| status.as_ref().into()),
        }))
    }

    async fn remove(
        &self,
        request: Request<api::RemoveRequest>,
    ) -> Result<Response<api::RemoveResponse>, Status> {
        let api::RemoveRequest {
            pod,
            grace_period_seconds,
        } = request.into_inner();
        let reference = reference(&pod)?;
        let grace = grace_period_seconds.map(Duration::from_secs);
        self.engine
            .remove(reference, grace)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(api::RemoveResponse {}))
    }

    async fn get(&self, request: Request<api::GetRequest>) -> Result<Response<api::GetResponse>, Status> {
        let status = self
            .engine
            .get(reference(&request.get_ref().pod)?)
            .map_err(Failure::from)?;
        Ok(Response::new(api::GetResponse {
            status: Some(status.as_ref().into()),
        }))
    }

    async fn list(&self, _: Request<api::ListRequest>) -> Result<Response<api::ListResponse>, Status> {
        let statuses = self
            .engine
            .list()
            .iter()
            .map(|status| status.as_ref().into())
            .collect();
        Ok(Response::new(api::ListResponse { statuses }))
    }

    async fn watch(
        &self,
        request: Request<api::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watch = self.engine.watch(&request.get_ref().pod).map_err(Failure::from)?;
        let changes = futures_util::stream::unfold(watch, |mut watch: Watch| async {
            let change = watch.next().await?;
            Some((Ok(event(change)), watch))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

fn pod(message: Option<api::Pod>) -> Result<Pod, Failure> {
    let message = message.ok_or_else(|| Failure::argument("pod", "must be given"))?;
    Pod::try_from(message).map_err(Failure::Pod)
}

/// The empty reference fits nothing, and must not be taken for all.
fn reference(text: &str) -> Result<&str, Failure> {
    if text.is_empty() {
        return Err(Failure::argument(
            "pod",
            "must be an id, namespace/name or a unique name",
        ));
    }
    Ok(text)
}

fn event(change: Change) -> api::WatchResponse {
    use api::watch_response::Event;
    let event = match change {
        Change::Status(status) => Event::Changed(status.as_ref().into()),
        Change::Removed(id) => Event::Removed(id.into()),
        Change::Synced => Event::Synced(api::Synced {}),
    };
    api::WatchResponse { event: Some(event) }
}
