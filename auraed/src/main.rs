//! The daemon: every decision and every privileged act of an Aurae node.

fn main() {}
