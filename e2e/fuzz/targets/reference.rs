//! A reference to an image, as a pod may name it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| auraed_image::fuzzing::reference(bytes));
