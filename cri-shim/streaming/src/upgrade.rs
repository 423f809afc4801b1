//! The upgrade of a request: to WebSocket (RFC 6455, section 4.2.2) with a subprotocol, or to SPDY/3.1 with a version in a
//! header of Kubernetes' own.

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const SPDY: &str = "SPDY/3.1";
const STREAM_PROTOCOL_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_STREAM_PROTOCOL_VERSIONS: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");
const NEEDED: &str = "an upgrade to WebSocket or SPDY/3.1 is needed";

/// What was agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted<P> {
    /// The protocol from here on.
    pub protocol: P,
    /// Its name, if the client named any.
    name: Option<&'static str>,
    /// WebSocket's proof that the request was read; none for SPDY.
    accept_key: Option<String>,
}

impl<P> Accepted<P> {
    /// The answer, 101, with an empty body of the server's type; the connection is the session's after it.
    #[must_use]
    pub fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        insert(headers, header::CONNECTION, "Upgrade");
        let name = match &self.accept_key {
            Some(accept_key) => {
                insert(headers, header::UPGRADE, "websocket");
                insert(headers, header::SEC_WEBSOCKET_ACCEPT, accept_key);
                header::SEC_WEBSOCKET_PROTOCOL
            }
            None => {
                insert(headers, header::UPGRADE, SPDY);
                STREAM_PROTOCOL_VERSION
            }
        };
        if let Some(protocol) = self.name {
            insert(headers, name, protocol);
        }
        response
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Names and base64 alone come here, and both are header text.
    if let Ok(value) = value.parse() {
        headers.append(name, value);
    }
}

/// Why a request cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// 400, 403 or 405; whoever serves may have others.
    pub status: StatusCode,
    /// For the client.
    pub message: String,
    /// What would have been accepted, for clients of SPDY.
    accepted: Vec<&'static str>,
}

impl Rejection {
    /// A status and a text.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            accepted: Vec::new(),
        }
    }

    /// The answer, with a body of the server's type.
    #[must_use]
    pub fn response<B: From<String>>(self) -> Response<B> {
        let mut response = Response::new(B::from(self.message));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        insert(headers, header::CONTENT_TYPE, "text/plain; charset=utf-8");
        for name in self.accepted {
            insert(headers, ACCEPTED_STREAM_PROTOCOL_VERSIONS, name);
        }
        response
    }
}

/// What a server speaks, by name: the first that a client names is taken. `oldest` is for a client that names none.
pub(crate) struct Known<'a, P> {
    pub(crate) names: &'a [(&'static str, P)],
    pub(crate) oldest: P,
}

/// Agrees on a protocol.
///
/// # Errors
/// [`Rejection`] where the request is no upgrade to WebSocket or SPDY/3.1, or names nothing that is known here.
pub(crate) fn negotiate<P: Copy>(
    request: &Parts,
    websocket: &Known<'_, P>,
    spdy: &Known<'_, P>,
) -> Result<Accepted<P>, Rejection> {
    let headers = &request.headers;
    let upgrades = has_token(headers, &header::CONNECTION, "upgrade");
    if upgrades && has_token(headers, &header::UPGRADE, "websocket") {
        let accept_key = Some(accept_key(request)?);
        let (protocol, name) = choose(headers, &header::SEC_WEBSOCKET_PROTOCOL, websocket)?;
        Ok(Accepted {
            protocol,
            name,
            accept_key,
        })
    } else if upgrades && has_token(headers, &header::UPGRADE, SPDY) {
        let (protocol, name) = choose(headers, &STREAM_PROTOCOL_VERSION, spdy)?;
        Ok(Accepted {
            protocol,
            name,
            accept_key: None,
        })
    } else {
        Err(Rejection::new(StatusCode::BAD_REQUEST, NEEDED))
    }
}

fn accept_key(request: &Parts) -> Result<String, Rejection> {
    if request.method != Method::GET {
        let message = "a WebSocket upgrade is a GET";
        return Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, message));
    }
    let headers = &request.headers;
    match (
        headers.get(header::SEC_WEBSOCKET_KEY),
        headers.get(header::SEC_WEBSOCKET_VERSION),
    ) {
        (Some(key), Some(version)) if version.as_bytes() == b"13" => Ok(derive_accept_key(key.as_bytes())),
        _ => {
            let message = "version 13 of WebSocket and a key are needed";
            Err(Rejection::new(StatusCode::BAD_REQUEST, message))
        }
    }
}

fn choose<P: Copy>(
    headers: &HeaderMap,
    header: &HeaderName,
    known: &Known<'_, P>,
) -> Result<(P, Option<&'static str>), Rejection> {
    let offers: Vec<&str> = tokens(headers, header).collect();
    if offers.is_empty() {
        return Ok((known.oldest, None));
    }
    let is_known = |offer: &&str| known.names.iter().find(|(name, _)| name == offer);
    match offers.iter().find_map(is_known) {
        Some((name, protocol)) => Ok((*protocol, Some(name))),
        None => {
            let accepted: Vec<&str> = known.names.iter().map(|(name, _)| *name).collect();
            let message = format!(
                "unable to negotiate protocol: client supports {}, server accepts {}",
                offers.join(", "),
                accepted.join(", ")
            );
            Err(Rejection {
                status: StatusCode::FORBIDDEN,
                message,
                accepted,
            })
        }
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}
