//! One line in the log for each call that failed.

use std::future::Future;
use std::time::Instant;

use tonic::{Code, Response, Status};

/// What a call is answered with.
pub(crate) type Answer<T> = Result<Response<T>, Status>;

/// Runs a call, and tells how it ended.
pub(crate) async fn told<T>(call: &'static str, work: impl Future<Output = Result<T, Status>>) -> Answer<T> {
    let begun = Instant::now();
    let outcome = work.await;
    let milliseconds = begun.elapsed().as_millis();
    match outcome {
        Ok(answer) => {
            tracing::debug!(call, milliseconds, "done");
            Ok(Response::new(answer))
        }
        Err(status) => {
            let (code, error) = (status.code(), status.message());
            match code {
                Code::Internal | Code::Unknown | Code::DataLoss => {
                    tracing::error!(call, ?code, error, milliseconds, "call failed");
                }
                // Told once, where auraed went away; asked for often by callers that do not know.
                Code::Unavailable | Code::NotFound | Code::Unimplemented => {
                    tracing::debug!(call, ?code, error, milliseconds, "call failed");
                }
                _ => tracing::info!(call, ?code, error, milliseconds, "call failed"),
            }
            // auraed's details are for its own clients.
            Err(Status::new(code, error))
        }
    }
}
