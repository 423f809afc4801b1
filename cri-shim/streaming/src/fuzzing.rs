//! Bodies for fuzzers: each takes any bytes and must return. The property tests run them, too.

use bytes::{Bytes, BytesMut};

use crate::protocol::Protocol;
use crate::{frame, options, port_forward, spdy};

/// Frames of SPDY/3.1, in pieces of `step` bytes (0 is taken as 1) and whole: both must mean the same.
///
/// # Panics
/// If they do not.
pub fn spdy_frames(bytes: &[u8], step: usize) {
    assert_eq!(
        spdy::fuzzing::meaning(bytes, step),
        spdy::fuzzing::meaning(bytes, bytes.len())
    );
}

/// Header blocks of SPDY/3.1, one after another: their lengths are the first bytes of each.
pub fn spdy_header_blocks(bytes: &[u8]) {
    spdy::fuzzing::header_blocks(bytes);
}

/// A message over WebSocket, in every protocol.
pub fn websocket_message(bytes: &[u8]) {
    for protocol in [
        Protocol::V5,
        Protocol::V4,
        Protocol::V4Base64,
        Protocol::Unversioned,
        Protocol::UnversionedBase64,
    ] {
        frame::decode(protocol, Bytes::copy_from_slice(bytes));
    }
}

/// A request's query.
pub fn query(text: &str) {
    let _ = options::Options::from_query(text);
    let _ = port_forward::ports_from_query(text);
}

/// A client of SPDY/3.1 that sends these bytes, and then nothing: the connection ends.
///
/// # Panics
/// If there is no runtime to be had.
pub fn spdy_connection(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(spdy::fuzzing::connection(BytesMut::from(bytes)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What fuzzers begin with.
    macro_rules! seed {
        ($name:literal) => {
            &include_bytes!(concat!("../../../e2e/fuzz/seeds/", $name))[..]
        };
    }

    #[test]
    fn what_fuzzers_begin_with_is_right() {
        for bytes in [
            seed!("spdy/exec"),
            seed!("spdy/port-forward"),
            seed!("spdy/control"),
        ] {
            // The first one is for the fuzzer: in what steps it is read.
            let frames = spdy::fuzzing::meaning(&bytes[1..], 1).unwrap();
            assert!(frames.len() > 3, "{frames:?}");
            spdy_connection(&bytes[1..]);
        }
        spdy_header_blocks(&seed!("spdy/header-blocks")[1..]);
        for message in [seed!("websocket/stdin"), seed!("websocket/close")] {
            websocket_message(message);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes: Vec<u8>, step in 0_usize..50, text: String) {
            spdy_frames(&bytes, step);
            spdy_header_blocks(&bytes);
            websocket_message(&bytes);
            query(&text);
            spdy_connection(&bytes);
        }
    }
}
