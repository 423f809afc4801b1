//! ExecSync: a program's whole output and its exit code in one answer.

use std::time::Duration;

use api::exec_request::Event as Input;
use api::exec_response::Event as Output;
use auraed_api::runtime::v0 as api;
use cri_api::v1 as cri;
use tonic::Status;

use crate::dispatch::MAX_MESSAGE_BYTES;
use crate::shim::Shim;

/// For a program that is killed to be gone.
const GRACE: Duration = Duration::from_secs(10);
/// Of one answer, for all that is not output.
const ROOM: usize = 1024;

/// Output that does not fit into the answer any more is dropped, and the program goes on.
pub(super) async fn exec_sync(
    shim: &Shim,
    request: cri::ExecSyncRequest,
) -> Result<cri::ExecSyncResponse, Status> {
    let container = shim.container_id(&request.container_id).await?;
    let seconds = u64::try_from(request.timeout).unwrap_or_default();
    let run = run(shim, container, request.cmd, seconds);
    if seconds == 0 {
        return run.await;
    }
    // auraed kills the program in time, and tells when it is gone. With the call's end it kills it as well.
    match tokio::time::timeout(Duration::from_secs(seconds).saturating_add(GRACE), run).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded(format!(
            "the command did not end within {seconds} s, nor when it was killed"
        ))),
    }
}

async fn run(
    shim: &Shim,
    container: String,
    command: Vec<String>,
    timeout_seconds: u64,
) -> Result<cri::ExecSyncResponse, Status> {
    let start = api::ExecStart {
        container: Some(api::ContainerReference {
            pod: String::new(),
            container,
        }),
        command,
        timeout_seconds,
        ..Default::default()
    };
    let requests = tokio_stream::once(api::ExecRequest {
        event: Some(Input::Start(start)),
    });
    let mut answers = shim
        .aurae
        .ask(shim.aurae.streams.runtime().exec(requests))
        .await?;
    let mut answer = cri::ExecSyncResponse::default();
    let mut room = MAX_MESSAGE_BYTES - ROOM;
    while let Some(message) = shim.aurae.next(&mut answers).await? {
        match message.event {
            Some(Output::Stdout(bytes)) => keep(&mut answer.stdout, &bytes, &mut room),
            Some(Output::Stderr(bytes)) => keep(&mut answer.stderr, &bytes, &mut room),
            Some(Output::ExitCode(code)) => {
                answer.exit_code = code;
                return Ok(answer);
            }
            None => {}
        }
    }
    Err(Status::internal("the command's end was not told"))
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8], room: &mut usize) {
    let length = bytes.len().min(*room);
    kept.extend_from_slice(bytes.get(..length).unwrap_or_default());
    *room -= length;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped() {
        let (mut out, mut err, mut room) = (Vec::new(), Vec::new(), 5);
        keep(&mut out, b"abc", &mut room);
        keep(&mut err, b"defg", &mut room);
        keep(&mut out, b"h", &mut room);
        assert_eq!((out.as_slice(), err.as_slice()), (&b"abc"[..], &b"de"[..]));
    }
}
