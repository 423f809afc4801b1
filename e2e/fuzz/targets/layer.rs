//! A layer, unpacked into a directory of its own: nothing outside of it may change.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| auraed_image::fuzzing::layer(bytes));
