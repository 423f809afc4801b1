//! An image's configuration, as a registry may answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| auraed_image::fuzzing::config(bytes));
