//! Which subprotocol a client and this server share (RFC 6455, section 4.2.2).

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A subprotocol of remote commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `v5.channel.k8s.io`: v4, and the client can close a channel.
    V5,
    /// `v4.channel.k8s.io`: the end is a `metav1.Status`.
    V4,
    /// `base64.v4.channel.k8s.io`: v4 in text messages.
    V4Base64,
    /// `channel.k8s.io`, or none offered: the end is a plain text, and only where it failed.
    Unversioned,
    /// `base64.channel.k8s.io`: the unversioned one in text messages.
    UnversionedBase64,
}

impl Protocol {
    const ALL: [Self; 5] = [
        Self::V5,
        Self::V4,
        Self::V4Base64,
        Self::Unversioned,
        Self::UnversionedBase64,
    ];

    /// Its name in `Sec-WebSocket-Protocol`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V5 => "v5.channel.k8s.io",
            Self::V4 => "v4.channel.k8s.io",
            Self::V4Base64 => "base64.v4.channel.k8s.io",
            Self::Unversioned => "channel.k8s.io",
            Self::UnversionedBase64 => "base64.channel.k8s.io",
        }
    }

    /// The end is told by a `metav1.Status`.
    pub(crate) fn has_status(self) -> bool {
        matches!(self, Self::V5 | Self::V4 | Self::V4Base64)
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
    accept_key: String,
}

impl Accepted {
    /// The answer, 101, with an empty body of the server's type; the connection is the session's after it.
    #[must_use]
    pub fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        insert(headers, header::CONNECTION, "Upgrade");
        insert(headers, header::UPGRADE, "websocket");
        insert(headers, header::SEC_WEBSOCKET_ACCEPT, &self.accept_key);
        if self.offered {
            insert(headers, header::SEC_WEBSOCKET_PROTOCOL, self.protocol.name());
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
/// [`Rejection`] where the request is no WebSocket upgrade, or offers nothing that is known here. SPDY/3.1 is told by
/// name: it is not served.
pub fn negotiate(request: &Parts) -> Result<Accepted, Rejection> {
    let headers = &request.headers;
    if has_token(headers, &header::UPGRADE, "SPDY/3.1") {
        let message = "SPDY/3.1 is not served here, use WebSocket: kubectl 1.31 or newer does";
        return Err(Rejection::new(StatusCode::BAD_REQUEST, message));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade")
        || !has_token(headers, &header::UPGRADE, "websocket")
    {
        return Err(Rejection::new(
            StatusCode::BAD_REQUEST,
            "a WebSocket upgrade is needed",
        ));
    }
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
            return Err(Rejection::new(
                StatusCode::BAD_REQUEST,
                "version 13 of WebSocket and a key are needed",
            ));
        }
    };
    let accept_key = derive_accept_key(key.as_bytes());
    let offers: Vec<&str> = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).collect();
    if offers.is_empty() {
        return Ok(Accepted {
            protocol: Protocol::Unversioned,
            offered: false,
            accept_key,
        });
    }
    let known = |offer: &&str| {
        Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.name() == *offer)
    };
    match offers.iter().find_map(known) {
        Some(protocol) => Ok(Accepted {
            protocol,
            offered: true,
            accept_key,
        }),
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
        let mut spdy = request(&[]);
        spdy.headers.insert("upgrade", "SPDY/3.1".parse().unwrap());
        assert!(negotiate(&spdy).unwrap_err().message.contains("SPDY"));
        let mut plain = request(&[]);
        plain.headers.remove("connection");
        assert_eq!(negotiate(&plain).unwrap_err().status, StatusCode::BAD_REQUEST);
    }
}
