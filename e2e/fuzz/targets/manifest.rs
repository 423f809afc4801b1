//! An image's manifest, as a registry may answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| auraed_image::fuzzing::manifest(bytes));
