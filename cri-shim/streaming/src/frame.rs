//! One WebSocket message as a channel's number and data, without I/O.

use crate::protocol::Protocol;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message;

/// The channels.
pub(crate) const STDIN: u8 = 0;
pub(crate) const STDOUT: u8 = 1;
pub(crate) const STDERR: u8 = 2;
pub(crate) const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromClient {
    Stdin(Bytes),
    Resize {
        width: u16,
        height: u16,
    },
    CloseStdin,
    /// Nothing that matters here: an empty message, a channel that is not the client's, a size that is none.
    Nothing,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TerminalSize {
    width: u16,
    height: u16,
}

/// Reads a data message. What a hostile client may send is at worst `Nothing`.
pub(crate) fn decode(protocol: Protocol, message: Bytes) -> FromClient {
    match unpack(protocol.is_base64(), message) {
        Some((channel, data)) => interpret(protocol, channel, data),
        None => FromClient::Nothing,
    }
}

/// The channel of a message and its data; None where there is nothing in it.
pub(crate) fn unpack(is_base64: bool, message: Bytes) -> Option<(u8, Bytes)> {
    let (&channel, data) = message.split_first()?;
    if !is_base64 {
        return Some((channel, message.slice(1..)));
    }
    let data = STANDARD.decode(data).ok()?;
    Some((channel.wrapping_sub(b'0'), data.into()))
}

fn interpret(protocol: Protocol, channel: u8, data: Bytes) -> FromClient {
    match channel {
        STDIN if !data.is_empty() => FromClient::Stdin(data),
        RESIZE => match serde_json::from_slice::<TerminalSize>(&data) {
            Ok(size) => FromClient::Resize {
                width: size.width,
                height: size.height,
            },
            Err(_) => FromClient::Nothing,
        },
        CLOSE if protocol == Protocol::V5 && data[..] == [STDIN] => FromClient::CloseStdin,
        _ => FromClient::Nothing,
    }
}

/// Writes a message for the client. Channels are below 64.
pub(crate) fn encode(is_base64: bool, channel: u8, data: &[u8]) -> Message {
    if is_base64 {
        let channel = char::from(b'0'.wrapping_add(channel));
        return Message::text(format!("{channel}{}", STANDARD.encode(data)));
    }
    let mut message = BytesMut::with_capacity(1 + data.len());
    message.put_u8(channel);
    message.put_slice(data);
    Message::Binary(message.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn closing_is_v5s_alone() {
        let close = Bytes::from_static(&[255, 0]);
        assert_eq!(decode(Protocol::V5, close.clone()), FromClient::CloseStdin);
        assert_eq!(decode(Protocol::V4, close), FromClient::Nothing);
    }

    #[test]
    fn a_size_is_json() {
        let message = Bytes::from_static(b"\x04{\"Width\":80,\"Height\":24}\n");
        assert_eq!(
            decode(Protocol::V4, message),
            FromClient::Resize {
                width: 80,
                height: 24
            }
        );
        assert_eq!(
            decode(Protocol::V4, Bytes::from_static(b"\x04{\"Width\":-1}")),
            FromClient::Nothing
        );
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_is_a_panic(message: Vec<u8>, which in 0usize..5) {
            let protocol = [Protocol::V5, Protocol::V4, Protocol::V4Base64, Protocol::Unversioned, Protocol::UnversionedBase64][which];
            decode(protocol, message.into());
        }

        #[test]
        fn channels_arrive_as_they_were_sent(channel in 0_u8..64, data: Vec<u8>) {
            for is_base64 in [false, true] {
                let message = encode(is_base64, channel, &data).into_data();
                prop_assert_eq!(unpack(is_base64, message), Some((channel, data.clone().into())));
            }
        }

        #[test]
        fn input_arrives_as_it_was_sent(data in proptest::collection::vec(any::<u8>(), 1..200)) {
            for protocol in [Protocol::V5, Protocol::V4Base64] {
                let message = encode(protocol.is_base64(), STDIN, &data).into_data();
                prop_assert_eq!(decode(protocol, message), FromClient::Stdin(data.clone().into()));
            }
        }
    }
}
