//! The command line, aurae.

fn main() {}
