//! CheckpointContainer, CheckpointPod, RestorePod: calls that this runtime does not have.

use cri_api::v1 as cri;
use tonic::Status;

pub(super) async fn container() -> Result<cri::CheckpointContainerResponse, Status> {
    Err(absent())
}

pub(super) async fn pod() -> Result<cri::CheckpointPodResponse, Status> {
    Err(absent())
}

pub(super) async fn restore() -> Result<cri::RestorePodResponse, Status> {
    Err(absent())
}

fn absent() -> Status {
    Status::unimplemented("this runtime neither checkpoints nor restores what runs")
}
