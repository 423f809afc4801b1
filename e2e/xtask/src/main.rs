//! What make runs: builds, suites, checks, generated code.

use clap::{Parser, Subcommand};

mod proto;

#[derive(Parser)]
#[command(name = "xtask", about = "What make runs")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generates the Rust code of auraed/api from its protobuf files.
    Proto,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Proto => proto::generate(),
    }
}
