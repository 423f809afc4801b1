//! A node to the API server, without root.

fn main() {}
