//! Signal: one signal to a container's main process.

use super::target::Targets;
use crate::server::status::Failure;
use auraed_api::runtime::v0 as api;

pub(super) async fn signal(targets: &Targets, request: api::SignalRequest) -> Result<(), Failure> {
    // SIGRTMAX of signal(7).
    if !(1..=64).contains(&request.signal) {
        return Err(Failure::argument("signal", "must be between 1 and 64"));
    }
    let target = targets.container(request.container)?;
    let sent = target.sandbox.signal(&target.name, request.signal).await;
    sent.map_err(target.failed("send a signal"))
}
