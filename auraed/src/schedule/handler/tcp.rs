//! Opening a connection.

use std::time::Duration;

use tokio::net::TcpStream;

use super::{authority, connect_error};
use crate::schedule::machine::Probed;

/// Success is a connection; it is closed at once.
pub(super) async fn probe(host: &str, port: u16, timeout: Duration) -> Probed {
    let authority = authority(host, port);
    match tokio::time::timeout(timeout, TcpStream::connect(&authority)).await {
        Ok(Ok(_)) => Probed::Success,
        Ok(Err(error)) => Probed::Failure(format!("dial tcp {authority}: {}", connect_error(&error))),
        Err(_) => Probed::Failure(format!("dial tcp {authority}: i/o timeout")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_listener_is_found_and_its_end_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(probe("127.0.0.1", port, PATIENCE).await, Probed::Success);
        drop(listener);
        let message = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(probe("127.0.0.1", port, PATIENCE).await, Probed::Failure(message));
    }
}
