//! Which protocol of remote commands a client and this server share.

use http::request::Parts;

use crate::upgrade::{self, Accepted, Known, Rejection};

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

/// Over WebSocket, newest first.
const WEBSOCKET: [(&str, Protocol); 5] = [
    ("v5.channel.k8s.io", Protocol::V5),
    ("v4.channel.k8s.io", Protocol::V4),
    ("v4.base64.channel.k8s.io", Protocol::V4Base64),
    ("channel.k8s.io", Protocol::Unversioned),
    ("base64.channel.k8s.io", Protocol::UnversionedBase64),
];

/// Over SPDY/3.1.
const SPDY: [(&str, Protocol); 4] = [
    ("v4.channel.k8s.io", Protocol::SpdyV4),
    ("v3.channel.k8s.io", Protocol::SpdyV3),
    ("v2.channel.k8s.io", Protocol::SpdyV2),
    ("channel.k8s.io", Protocol::SpdyV1),
];

impl Protocol {
    /// The end is told by a `metav1.Status`.
    pub(crate) fn has_status(self) -> bool {
        matches!(self, Self::V5 | Self::V4 | Self::V4Base64 | Self::SpdyV4)
    }

    /// Streams are SPDY's, not the channels of WebSocket messages.
    pub(crate) fn is_spdy(self) -> bool {
        SPDY.iter().any(|(_, protocol)| *protocol == self)
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

/// Agrees on a protocol: the first that the client offers and this server knows.
///
/// # Errors
/// [`Rejection`] where the request is no upgrade to WebSocket or SPDY/3.1, or offers nothing that is known here.
pub fn negotiate(request: &Parts) -> Result<Accepted<Protocol>, Rejection> {
    let websocket = Known {
        names: &WEBSOCKET,
        oldest: Protocol::Unversioned,
    };
    let spdy = Known {
        names: &SPDY,
        oldest: Protocol::SpdyV1,
    };
    upgrade::negotiate(request, &websocket, &spdy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

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
        let response = negotiate(&request(&["v9"])).unwrap_err().response::<String>();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let accepted = response.headers().get_all("x-accepted-stream-protocol-versions");
        assert_eq!(accepted.iter().count(), 4);
    }
}
