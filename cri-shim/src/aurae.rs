//! The way to auraed: two connections, and what becomes of their failures.
//!
//! Calls go over one connection, long streams (exec, pulls, events) over the other, so that no stream stands in the way of
//! a call. Both mend themselves with the next call. That auraed is away is told once in the log, and that it is back.

use std::error::Error;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use auraed_client::{Client, ClientConfig};
use tonic::{Response, Status};

/// auraed, as this program knows it. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Aurae {
    /// For calls.
    pub(crate) control: Client,
    /// For streams.
    pub(crate) streams: Client,
    /// Its socket.
    pub(crate) socket: PathBuf,
    away: Arc<AtomicBool>,
}

impl Aurae {
    /// Prepares connections; none is opened yet. Must be called in a runtime.
    pub(crate) fn new(socket: PathBuf, identity: PathBuf) -> Self {
        let config = ClientConfig {
            socket: socket.clone(),
            identity,
        };
        Self {
            control: Client::connect_lazy(config.clone()),
            streams: Client::connect_lazy(config),
            socket,
            away: Arc::default(),
        }
    }

    /// Waits for an answer. A failure comes back as this program's callers may see it: UNAVAILABLE with the reason where
    /// auraed cannot be reached, else what auraed itself says.
    pub(crate) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        match call.await {
            Ok(response) => {
                self.is_there();
                Ok(response.into_inner())
            }
            Err(status) => Err(self.failure(&status)),
        }
    }

    /// The next message of a stream, with failures as [`Aurae::ask`] has them.
    pub(crate) async fn next<T>(&self, stream: &mut tonic::Streaming<T>) -> Result<Option<T>, Status> {
        stream.message().await.map_err(|status| self.failure(&status))
    }

    fn failure(&self, status: &Status) -> Status {
        let Some(reason) = away(status) else {
            self.is_there();
            return Status::with_details(status.code(), status.message(), status.details().to_vec().into());
        };
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(%reason, "auraed is away");
        }
        Status::unavailable(format!("auraed cannot be reached: {reason}"))
    }

    fn is_there(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!("auraed is back");
        }
    }
}

/// Why there was no answer, where that is what happened: what auraed itself says has no cause on this side.
fn away(status: &Status) -> Option<String> {
    match auraed_client::connect_error(status) {
        Some(error) => Some(sources(error)),
        None if status.source().is_some() => Some(format!("the connection broke: {}", status.message())),
        None => None,
    }
}

/// An error with all that is behind it.
fn sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[tokio::test]
    async fn a_missing_socket_is_unavailable_with_its_path() {
        let aurae = Aurae::new("/nowhere/aurae.sock".into(), "/nowhere".into());
        let status = aurae
            .ask(
                aurae
                    .control
                    .runtime()
                    .get_runtime(auraed_api::runtime::v0::GetRuntimeRequest {}),
            )
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("/nowhere"), "{status:?}");
    }
}
