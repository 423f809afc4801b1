//! Passes TCP connections on: into a run's network namespace from outside, or in the place of a server that comes late.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A listener whose connections are passed on, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens on `from`, and passes connections on to `to`. Both are seen from the calling thread's namespace, on a
    /// runtime of one thread.
    ///
    /// # Errors
    /// `from` is taken.
    pub async fn start(from: &str, to: &'static str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(from)
            .await
            .with_context(|| format!("listening on {from}"))?;
        Self::over(listener, to)
    }

    /// The same over a socket made before, possibly in another network namespace.
    ///
    /// # Errors
    /// The socket does not listen.
    pub fn over(listener: TcpListener, to: &'static str) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("the relay's address")?;
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(to).await {
                        // Either end may go away at any time.
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
