//! Signal: one signal to a container's main process.

use super::named;
use crate::schedule::Engine;
use crate::server::status::Failure;
use auraed_api::runtime::v0 as api;

pub(super) async fn signal(engine: &Engine, request: api::SignalRequest) -> Result<(), Failure> {
    let reference = named(request.container)?;
    // SIGRTMAX of signal(7).
    if !(1..=64).contains(&request.signal) {
        return Err(Failure::argument("signal", "must be between 1 and 64"));
    }
    let target = engine.exec_target(&reference.pod, &reference.container)?;
    let sent = target
        .sandbox
        .signal(target.container.as_str(), request.signal)
        .await;
    sent.map_err(|source| Failure::Sandbox {
        action: "send a signal",
        pod: reference.pod,
        container: target.container.to_string(),
        source: Box::new(source),
    })
}
