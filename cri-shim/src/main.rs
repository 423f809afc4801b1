//! A CRI v1 server over auraed.
fn main() {}
