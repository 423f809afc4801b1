//! Frames, header blocks and whole connections of SPDY/3.1.
#![no_main]

use cri_shim_streaming::fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((step, bytes)) = bytes.split_first() else {
        return;
    };
    fuzzing::spdy_frames(bytes, usize::from(*step));
    fuzzing::spdy_header_blocks(bytes);
    fuzzing::spdy_connection(bytes);
});
