//! ListMetricDescriptors, ListPodSandboxMetrics, StreamPodSandboxMetrics.

use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use tonic::Status;
use translation::cri::metrics;

use super::{Lists, in_lists, stats};
use crate::shim::Shim;

pub(super) async fn descriptors() -> Result<cri::ListMetricDescriptorsResponse, Status> {
    Ok(cri::ListMetricDescriptorsResponse {
        descriptors: metrics::descriptors(),
    })
}

pub(super) async fn list(shim: &Shim) -> Result<cri::ListPodSandboxMetricsResponse, Status> {
    let pod_metrics = all(shim).await?;
    Ok(cri::ListPodSandboxMetricsResponse { pod_metrics })
}

pub(super) async fn stream(shim: &Shim) -> Result<Lists<cri::StreamPodSandboxMetricsResponse>, Status> {
    let metrics = all(shim).await?;
    Ok(in_lists(metrics, |pod_sandbox_metrics| {
        cri::StreamPodSandboxMetricsResponse { pod_sandbox_metrics }
    }))
}

async fn all(shim: &Shim) -> Result<Vec<cri::PodSandboxMetrics>, Status> {
    let all = stats::ask(shim, api::ListSandboxStatsRequest::default()).await?;
    Ok(all.iter().map(metrics::sandbox).collect())
}
