//! Messages of the remote-command protocols over WebSocket, and requests' queries.
#![no_main]

use cri_shim_streaming::fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzzing::websocket_message(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        fuzzing::query(text);
    }
});
