//! The way to auraed.
//!
//! Two connections: one for what drives pods, one for streams that people open (logs, exec), so that many of those never
//! stand in the way. Both mend themselves; the daemon's absence is noticed by the watch of pods ([`crate::source`]).

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use auraed_client::{Client, ClientConfig, ConnectError};
use tonic::{Code, Status};

use crate::files::Changes;

/// auraed, and who we are to it.
#[derive(Clone, Debug)]
pub struct Aurae {
    config: ClientConfig,
    /// What drives pods.
    pub control: Client,
    /// Logs, exec, attach and port-forward.
    pub streams: Client,
}

impl Aurae {
    /// Prepares connections; none is opened yet. Must be called in a runtime.
    pub fn new(socket: PathBuf, identity: PathBuf) -> Aurae {
        let config = ClientConfig { socket, identity };
        let control = Client::connect_lazy(config.clone());
        let streams = Client::connect_lazy(config.clone());
        Aurae {
            config,
            control,
            streams,
        }
    }

    /// Connects once, to see that it works.
    ///
    /// # Errors
    /// What stands in the way; see [`ConnectError::is_retryable`].
    pub async fn probe(&self) -> Result<(), ConnectError> {
        Client::connect(self.config.clone()).await.map(drop)
    }
}

impl Aurae {
    /// Returns when the daemon makes its socket anew, or after `at_most`.
    pub async fn maybe_back(&self, at_most: Duration) {
        let socket = [self.config.socket.clone()];
        // Where the directory is not there yet, time alone tells.
        let Ok(mut changes) = Changes::of_files(&socket) else {
            return tokio::time::sleep(at_most).await;
        };
        tokio::select! {
            () = changes.next() => {}
            () = tokio::time::sleep(at_most) => {}
        }
    }
}

/// True where the daemon could not be reached, or went away in the middle: the same call may succeed later.
pub fn is_away(status: &Status) -> bool {
    // What the daemon itself says has no cause on this side.
    matches!(
        status.code(),
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded
    ) || status.source().is_some()
}

/// What a call's failure was, for people: the connection's own words where there was none.
pub fn reason(status: &Status) -> String {
    match auraed_client::connect_error(status) {
        Some(error) => crate::chain::sources(error),
        None if status.source().is_some() => format!("the connection broke: {}", status.message()),
        None => status.message().to_owned(),
    }
}
