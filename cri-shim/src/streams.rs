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

use auraed_api::runtime::v0::ContainerReference;
use auraed_client::Client;
use cri_shim_relay::{Pod, Rejection, Relay};
use cri_shim_streaming::Options;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

mod listen;
mod tokens;

use tokens::Tokens;

/// What a token stands for.
#[derive(Clone, Debug, PartialEq)]
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
    relay: Relay,
    stop: CancellationToken,
}

impl Streams {
    /// Listens and serves from now on; port 0 is any free one.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start(listen: SocketAddr, client: Client) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            tokens: Tokens::new(),
            relay: Relay::new(client),
            stop: CancellationToken::new(),
        });
        tokio::spawn(listen::accept(
            listener,
            Arc::downgrade(&shared),
            shared.stop.clone(),
        ));
        Ok(Self { shared })
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
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.relay.finished().await;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    /// Answers one request: with 101, and a session behind it, where all is well.
    async fn serve(&self, request: Parts) -> Response<String> {
        let answer = match self.asked(&request) {
            Ok(Asked::Exec { container, options }) => {
                self.relay.exec(reference(container), options, request).await
            }
            Ok(Asked::Attach { container, options }) => {
                self.relay.attach(reference(container), options, request).await
            }
            Ok(Asked::PortForward { sandbox, ports }) => {
                let pod = Pod {
                    id: sandbox.clone(),
                    name: sandbox,
                    uid: String::new(),
                };
                self.relay.port_forward(pod, ports, request)
            }
            Err(rejection) => Err(rejection),
        };
        answer.unwrap_or_else(Rejection::response)
    }

    /// What the token of a path stands for. A token that is tried under another verb is used up, too.
    fn asked(&self, request: &Parts) -> Result<Asked, Rejection> {
        if !matches!(request.method, Method::GET | Method::POST) {
            let message = "GET for WebSocket, POST for SPDY/3.1";
            return Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, message));
        }
        let unknown = || Rejection::new(StatusCode::NOT_FOUND, "404 page not found");
        let path = request.uri.path().strip_prefix('/').unwrap_or_default();
        let (verb, token) = path.split_once('/').ok_or_else(unknown)?;
        let asked = self.tokens.take(token).ok_or_else(unknown)?;
        let meant = match &asked {
            Asked::Exec { .. } => "exec",
            Asked::Attach { .. } => "attach",
            Asked::PortForward { .. } => "portforward",
        };
        if verb == meant { Ok(asked) } else { Err(unknown()) }
    }
}

/// A container of the executive.
fn reference(container: String) -> ContainerReference {
    ContainerReference {
        pod: String::new(),
        container,
    }
}

#[cfg(test)]
mod tests;
