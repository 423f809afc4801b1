//! RuntimeService: which file answers which call. `told` writes the one line that a failed call gets in the log.

use cri_api::v1 as cri;
use cri_api::v1::runtime_service_server::RuntimeService;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, async_trait};

use crate::shim::Shim;
use crate::told::{Answer, told};

mod checkpoint;
mod container;
mod events;
mod exec_sync;
mod lists;
mod metrics;
mod node;
mod sandbox;
mod stats;
mod streaming;

pub(crate) use lists::{Lists, in_lists};

#[async_trait]
impl RuntimeService for Shim {
    type StreamPodSandboxesStream = Lists<cri::StreamPodSandboxesResponse>;
    type StreamContainersStream = Lists<cri::StreamContainersResponse>;
    type StreamContainerStatsStream = Lists<cri::StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Lists<cri::StreamPodSandboxStatsResponse>;
    type StreamPodSandboxMetricsStream = Lists<cri::StreamPodSandboxMetricsResponse>;
    type GetContainerEventsStream = ReceiverStream<Result<cri::ContainerEventResponse, Status>>;

    async fn version(&self, _: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        told("Version", node::version(self)).await
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<cri::RunPodSandboxRequest>,
    ) -> Answer<cri::RunPodSandboxResponse> {
        told("RunPodSandbox", sandbox::run(self, request.into_inner())).await
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        told("StopPodSandbox", sandbox::stop(self, request.into_inner())).await
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        told("RemovePodSandbox", sandbox::remove(self, request.into_inner())).await
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        told("PodSandboxStatus", sandbox::status(self, request.into_inner())).await
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        told("ListPodSandbox", sandbox::list(self, request.into_inner())).await
    }

    async fn stream_pod_sandboxes(
        &self,
        request: Request<cri::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        told("StreamPodSandboxes", sandbox::stream(self, request.into_inner())).await
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<cri::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<cri::UpdatePodSandboxResourcesResponse> {
        told(
            "UpdatePodSandboxResources",
            sandbox::update(self, request.into_inner()),
        )
        .await
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        told("CreateContainer", container::create(self, request.into_inner())).await
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        told("StartContainer", container::start(self, request.into_inner())).await
    }

    async fn stop_container(
        &self,
        request: Request<cri::StopContainerRequest>,
    ) -> Answer<cri::StopContainerResponse> {
        told("StopContainer", container::stop(self, request.into_inner())).await
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        told("RemoveContainer", container::remove(self, request.into_inner())).await
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        told("ListContainers", container::list(self, request.into_inner())).await
    }

    async fn stream_containers(
        &self,
        request: Request<cri::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        told("StreamContainers", container::stream(self, request.into_inner())).await
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        told("ContainerStatus", container::status(self, request.into_inner())).await
    }

    async fn update_container_resources(
        &self,
        request: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        told(
            "UpdateContainerResources",
            container::update(self, request.into_inner()),
        )
        .await
    }

    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        told(
            "ReopenContainerLog",
            container::reopen_log(self, request.into_inner()),
        )
        .await
    }

    async fn exec_sync(&self, request: Request<cri::ExecSyncRequest>) -> Answer<cri::ExecSyncResponse> {
        told("ExecSync", exec_sync::exec_sync(self, request.into_inner())).await
    }

    async fn exec(&self, request: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        told("Exec", streaming::exec(self, request.into_inner())).await
    }

    async fn attach(&self, request: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        told("Attach", streaming::attach(self, request.into_inner())).await
    }

    async fn port_forward(
        &self,
        request: Request<cri::PortForwardRequest>,
    ) -> Answer<cri::PortForwardResponse> {
        told("PortForward", streaming::port_forward(self, request.into_inner())).await
    }

    async fn container_stats(
        &self,
        request: Request<cri::ContainerStatsRequest>,
    ) -> Answer<cri::ContainerStatsResponse> {
        told("ContainerStats", stats::container(self, request.into_inner())).await
    }

    async fn list_container_stats(
        &self,
        request: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        told(
            "ListContainerStats",
            stats::containers(self, request.into_inner()),
        )
        .await
    }

    async fn stream_container_stats(
        &self,
        request: Request<cri::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        told(
            "StreamContainerStats",
            stats::stream_containers(self, request.into_inner()),
        )
        .await
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<cri::PodSandboxStatsRequest>,
    ) -> Answer<cri::PodSandboxStatsResponse> {
        told("PodSandboxStats", stats::sandbox(self, request.into_inner())).await
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<cri::ListPodSandboxStatsRequest>,
    ) -> Answer<cri::ListPodSandboxStatsResponse> {
        told(
            "ListPodSandboxStats",
            stats::sandboxes(self, request.into_inner()),
        )
        .await
    }

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<cri::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        told(
            "StreamPodSandboxStats",
            stats::stream_sandboxes(self, request.into_inner()),
        )
        .await
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        told("ListMetricDescriptors", metrics::descriptors()).await
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        told("ListPodSandboxMetrics", metrics::list(self)).await
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<cri::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        told("StreamPodSandboxMetrics", metrics::stream(self)).await
    }

    async fn get_container_events(
        &self,
        _: Request<cri::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        told("GetContainerEvents", events::watch(self)).await
    }

    async fn status(&self, request: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        told("Status", node::status(self, request.into_inner())).await
    }

    async fn runtime_config(
        &self,
        _: Request<cri::RuntimeConfigRequest>,
    ) -> Answer<cri::RuntimeConfigResponse> {
        told("RuntimeConfig", node::configuration()).await
    }

    async fn update_runtime_config(
        &self,
        request: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        told("UpdateRuntimeConfig", node::update(self, request.into_inner())).await
    }

    async fn checkpoint_container(
        &self,
        _: Request<cri::CheckpointContainerRequest>,
    ) -> Answer<cri::CheckpointContainerResponse> {
        told("CheckpointContainer", checkpoint::container()).await
    }

    async fn checkpoint_pod(
        &self,
        _: Request<cri::CheckpointPodRequest>,
    ) -> Answer<cri::CheckpointPodResponse> {
        told("CheckpointPod", checkpoint::pod()).await
    }

    async fn restore_pod(&self, _: Request<cri::RestorePodRequest>) -> Answer<cri::RestorePodResponse> {
        told("RestorePod", checkpoint::restore()).await
    }
}
