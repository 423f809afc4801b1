//! Which protocol a client and this server share: a subprotocol of WebSocket (RFC 6455, section 4.2.2), or a version of
//! Kubernetes' own header over SPDY.

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const SPDY: &str = "SPDY/3.1";
const STREAM_PROTOCOL_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// A protocol of remote commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `v5.channel.k8s.io`: v4, and the client can close a channel.
    V5,
    /// `v4.channel.k8s.io`: the end is a `metav1.Status`.
    V4,
    /// `v4.base64.channel.k8s.io`: v4 in text messages.
    V4Base64,
    /// `channel.k8s.io`, or none offered: the end is a plain text, and only where it failed.
    Unversioned,
    /// `base64.channel.k8s.io`: the unversioned one in text messages.
    UnversionedBase64,
    /// `v4.channel.k8s.io` over SPDY/3.1: the end is a `metav1.Status`.
    SpdyV4,
    /// `v3.channel.k8s.io` over SPDY/3.1: terminals have sizes.
    SpdyV3,
    /// `v2.channel.k8s.io` over SPDY/3.1.
    SpdyV2,
    /// `channel.k8s.io` over SPDY/3.1, or none offered.
    SpdyV1,
}

impl Protocol {
    const WEBSOCKET: [Self; 5] = [
        Self::V5,
        Self::V4,
        Self::V4Base64,
        Self::Unversioned,
        Self::UnversionedBase64,
    ];
    const SPDY: [Self; 4] = [Self::SpdyV4, Self::SpdyV3, Self::SpdyV2, Self::SpdyV1];

    /// Its name in `Sec-WebSocket-Protocol` or, over SPDY, in `X-Stream-Protocol-Version`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V5 => "v5.channel.k8s.io",
            Self::V4 | Self::SpdyV4 => "v4.channel.k8s.io",
            Self::V4Base64 => "v4.base64.channel.k8s.io",
            Self::SpdyV3 => "v3.channel.k8s.io",
            Self::SpdyV2 => "v2.channel.k8s.io",
            Self::Unversioned | Self::SpdyV1 => "channel.k8s.io",
            Self::UnversionedBase64 => "base64.channel.k8s.io",
        }
    }

    /// The end is told by a `metav1.Status`.
    pub(crate) fn has_status(self) -> bool {
        matches!(self, Self::V5 | Self::V4 | Self::V4Base64 | Self::SpdyV4)
    }

    /// Streams are SPDY's, not the channels of WebSocket messages.
    pub(crate) fn is_spdy(self) -> bool {
        Self::SPDY.contains(&self)
    }

    /// A terminal's sizes are sent.
    pub(crate) fn has_sizes(self) -> bool {
        !matches!(self, Self::SpdyV2 | Self::SpdyV1)
    }

    /// Messages are text: a digit and base64.
    pub(crate) fn is_base64(self) -> bool {
        matches!(self, Self::V4Base64 | Self::UnversionedBase64)
    }
}

/// What was agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The protocol from here on.
    pub protocol: Protocol,
    offered: bool,
    /// WebSocket's proof that the request was read; none for SPDY.
    accept_key: Option<String>,
}

impl Accepted {
    /// The answer, 101, with an empty body of the server's type; the connection is the session's after it.
    #[must_use]
    pub fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        insert(headers, header::CONNECTION, "Upgrade");
        match &self.accept_key {
            Some(accept_key) => {
                insert(headers, header::UPGRADE, "websocket");
                insert(headers, header::SEC_WEBSOCKET_ACCEPT, accept_key);
            }
            None => insert(headers, header::UPGRADE, SPDY),
        }
        if self.offered {
            let name = match self.accept_key {
                Some(_) => header::SEC_WEBSOCKET_PROTOCOL,
                None => STREAM_PROTOCOL_VERSION,
            };
            insert(headers, name, self.protocol.name());
        }
        response
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Names and base64 alone come here, and both are header text.
    if let Ok(value) = value.parse() {
        headers.insert(name, value);
    }
}

/// Why a request cannot be served. Answer with the status and the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// 400, 403 or 405.
    pub status: StatusCode,
    /// For the client.
    pub message: String,
}

impl Rejection {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

/// Agrees on a protocol: the first that the client offers and this server knows.
///
/// # Errors
/// [`Rejection`] where the request is no upgrade to WebSocket or SPDY/3.1, or offers nothing that is known here.
pub fn negotiate(request: &Parts) -> Result<Accepted, Rejection> {
    let headers = &request.headers;
    if !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(Rejection::new(
            StatusCode::BAD_REQUEST,
            "an upgrade to WebSocket or SPDY/3.1 is needed",
        ));
    }
    if has_token(headers, &header::UPGRADE, "websocket") {
        return websocket(request);
    }
    if has_token(headers, &header::UPGRADE, SPDY) {
        let (protocol, offered) = choose(
            headers,
            &STREAM_PROTOCOL_VERSION,
            &Protocol::SPDY,
            Protocol::SpdyV1,
        )?;
        return Ok(Accepted {
            protocol,
            offered,
            accept_key: None,
        });
    }
    Err(Rejection::new(
        StatusCode::BAD_REQUEST,
        "an upgrade to WebSocket or SPDY/3.1 is needed",
    ))
}

fn websocket(request: &Parts) -> Result<Accepted, Rejection> {
    let headers = &request.headers;
    if request.method != Method::GET {
        return Err(Rejection::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "a WebSocket upgrade is a GET",
        ));
    }
    let key = match (
        headers.get(header::SEC_WEBSOCKET_KEY),
        headers.get(header::SEC_WEBSOCKET_VERSION),
    ) {
        (Some(key), Some(version)) if version.as_bytes() == b"13" => key,
        _ => {
            let message = "version 13 of WebSocket and a key are needed";
            return Err(Rejection::new(StatusCode::BAD_REQUEST, message));
        }
    };
    let accept_key = Some(derive_accept_key(key.as_bytes()));
    let name = header::SEC_WEBSOCKET_PROTOCOL;
    let (protocol, offered) = choose(headers, &name, &Protocol::WEBSOCKET, Protocol::Unversioned)?;
    Ok(Accepted {
        protocol,
        offered,
        accept_key,
    })
}

/// The first offer that is known, and whether there was any: without one it is the oldest protocol.
fn choose(
    headers: &HeaderMap,
    name: &HeaderName,
    known: &[Protocol],
    oldest: Protocol,
) -> Result<(Protocol, bool), Rejection> {
    let offers: Vec<&str> = tokens(headers, name).collect();
    if offers.is_empty() {
        return Ok((oldest, false));
    }
    let is_known = |offer: &&str| known.iter().copied().find(|protocol| protocol.name() == *offer);
    match offers.iter().find_map(is_known) {
        Some(protocol) => Ok((protocol, true)),
        None => {
            let message = format!("none of the protocols {} is served here", offers.join(", "));
            Err(Rejection::new(StatusCode::FORBIDDEN, message))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(offers: &[&str]) -> Parts {
        let mut builder = http::Request::get("/exec/default/web/c")
            .header("Connection", "keep-alive, Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        for offer in offers {
            builder = builder.header("Sec-WebSocket-Protocol", *offer);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_clients_first_known_offer_wins() {
        let accepted = negotiate(&request(&[
            "v6.channel.k8s.io, v5.channel.k8s.io",
            "v4.channel.k8s.io",
        ]))
        .unwrap();
        assert_eq!(accepted.protocol, Protocol::V5);
        let response = accepted.response::<()>();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        // The example of RFC 6455, section 1.3.
        assert_eq!(
            response.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(response.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    }

    #[test]
    fn no_offer_is_the_oldest_protocol() {
        let accepted = negotiate(&request(&[])).unwrap();
        assert_eq!(accepted.protocol, Protocol::Unversioned);
        assert!(
            !accepted
                .response::<()>()
                .headers()
                .contains_key("sec-websocket-protocol")
        );
    }

    #[test]
    fn what_is_not_known_is_told() {
        assert_eq!(
            negotiate(&request(&["v9.channel.k8s.io"])).unwrap_err().status,
            StatusCode::FORBIDDEN
        );
        let mut plain = request(&[]);
        plain.headers.remove("connection");
        assert_eq!(negotiate(&plain).unwrap_err().status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn spdy_has_versions_of_its_own() {
        let request = |offers: &[&str]| {
            let builder = http::Request::post("/exec/default/web/c").header("Connection", "Upgrade");
            let builder = builder.header("Upgrade", "SPDY/3.1");
            let builder = offers.iter().fold(builder, |builder, offer| {
                builder.header("X-Stream-Protocol-Version", *offer)
            });
            builder.body(()).unwrap().into_parts().0
        };
        let accepted = negotiate(&request(&[
            "v5.channel.k8s.io",
            "v4.channel.k8s.io",
            "channel.k8s.io",
        ]))
        .unwrap();
        assert_eq!(accepted.protocol, Protocol::SpdyV4);
        let response = accepted.response::<()>();
        assert_eq!(response.headers()["upgrade"], "SPDY/3.1");
        assert_eq!(
            response.headers()["x-stream-protocol-version"],
            "v4.channel.k8s.io"
        );
        assert_eq!(negotiate(&request(&[])).unwrap().protocol, Protocol::SpdyV1);
        assert_eq!(
            negotiate(&request(&["v9"])).unwrap_err().status,
            StatusCode::FORBIDDEN
        );
    }
}
