//! Streams as kubectl speaks them, carried to and from auraed: what kubelet-bridge and cri-shim have in common.
//!
//! ```text
//!             request ─► negotiate ─► auraed's call ─► 101, or a refusal
//! upgraded connection ─► streaming ◄──── a task ────► auraed's call      one a session; one more a forwarded connection
//! ```
//!
//! The call is begun before the upgrade, so that what stands against it is an HTTP answer. Each side holds the other back:
//! between them are short queues alone. A client that goes away ends the call, and auraed does what belongs to that; the
//! call's end is told to the client in the words of its protocol.

use std::error::Error;
use std::fmt::Write as _;

use auraed_api::runtime::v0 as api;
use auraed_client::Client;
pub use cri_shim_streaming::Rejection;
use cri_shim_streaming::{Options, negotiate, port_forward, session};
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

mod command;
mod forward;

/// Carries sessions. Clones carry the same ones.
#[derive(Clone, Debug)]
pub struct Relay {
    client: Client,
    sessions: TaskTracker,
}

/// A pod whose ports are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// As auraed knows it: the id of a pod, or of a sandbox.
    pub id: String,
    /// As clients are told of it.
    pub name: String,
    /// The same; may be empty.
    pub uid: String,
}

impl Relay {
    /// Carries sessions to and from this daemon.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            sessions: TaskTracker::new(),
        }
    }

    /// Runs a program in a container, and answers 101; the session goes on by itself. Must be called in a runtime, with
    /// the head of a request that hyper serves over HTTP/1.1.
    ///
    /// # Errors
    /// [`Rejection`] where the request cannot be served, or the program does not start.
    pub async fn exec<B: Default>(
        &self,
        container: api::ContainerReference,
        options: Options,
        mut request: Parts,
    ) -> Result<Response<B>, Rejection> {
        if options.command.is_empty() {
            return Err(Rejection::new(StatusCode::BAD_REQUEST, "a command is needed"));
        }
        let accepted = negotiate(&request)?;
        let upgrade = upgrade_of(&mut request)?;
        let call = command::Exec::start(&self.client, container, &options).await;
        let call = call.map_err(|status| refused(&status))?;
        let response = accepted.response();
        self.begin(upgrade, move |connection| async move {
            let (input, output) = session::open(connection, accepted.protocol, &options).await;
            command::relay(call, input, output).await;
        });
        Ok(response)
    }

    /// Takes part in a container's own streams. As [`Relay::exec`].
    ///
    /// # Errors
    /// [`Rejection`] where the request cannot be served, or the container does not run.
    pub async fn attach<B: Default>(
        &self,
        container: api::ContainerReference,
        options: Options,
        mut request: Parts,
    ) -> Result<Response<B>, Rejection> {
        let accepted = negotiate(&request)?;
        let upgrade = upgrade_of(&mut request)?;
        let call = command::Attach::start(&self.client, container, &options).await;
        let call = call.map_err(|status| refused(&status))?;
        let response = accepted.response();
        self.begin(upgrade, move |connection| async move {
            let (input, output) = session::open(connection, accepted.protocol, &options).await;
            command::relay(call, input, output).await;
        });
        Ok(response)
    }

    /// Connects a client to ports of a pod, as often as it likes. As [`Relay::exec`]. `ports` are for the protocols that
    /// have them in the query; where there are none, the query's count.
    ///
    /// # Errors
    /// [`Rejection`] where the request cannot be served.
    pub fn port_forward<B: Default>(
        &self,
        pod: Pod,
        mut ports: Vec<u16>,
        mut request: Parts,
    ) -> Result<Response<B>, Rejection> {
        let accepted = port_forward::negotiate(&request)?;
        let protocol = accepted.protocol;
        if protocol.has_ports_in_query() && ports.is_empty() {
            let query = request.uri.query().unwrap_or_default();
            ports = port_forward::ports_from_query(query)
                .map_err(|error| Rejection::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        }
        let upgrade = upgrade_of(&mut request)?;
        let response = accepted.response();
        let client = self.client.clone();
        self.begin(upgrade, move |connection| async move {
            let forwards = port_forward::open(connection, protocol, &ports).await;
            forward::relay(client, pod, forwards).await;
        });
        Ok(response)
    }

    /// Waits until there is no session any more. Others may still be begun meanwhile.
    pub async fn finished(&self) {
        self.sessions.close();
        self.sessions.wait().await;
    }

    fn begin<S>(&self, upgrade: OnUpgrade, session: impl FnOnce(TokioIo<Upgraded>) -> S + Send + 'static)
    where
        S: Future<Output = ()> + Send,
    {
        self.sessions.spawn(async move {
            match upgrade.await {
                Ok(upgraded) => session(TokioIo::new(upgraded)).await,
                Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
            }
        });
    }
}

fn upgrade_of(request: &mut Parts) -> Result<OnUpgrade, Rejection> {
    request.extensions.remove().ok_or_else(|| {
        let message = "this connection cannot be upgraded: HTTP/1.1 is needed";
        Rejection::new(StatusCode::BAD_REQUEST, message)
    })
}

fn refused(status: &Status) -> Rejection {
    let code = match status.code() {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Rejection::new(code, reason(status))
}

/// What a call's failure was, for people: the connection's own words where there was none.
fn reason(status: &Status) -> String {
    let Some(error) = auraed_client::connect_error(status) else {
        return match status.source() {
            Some(_) => format!("the connection broke: {}", status.message()),
            None => status.message().to_owned(),
        };
    };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
