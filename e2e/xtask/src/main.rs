//! What `make` runs: sets up the machine, builds, suites, checks, generated code.
//!
//! One file a command. None of them depends on the product's crates, so that each works while those do not compile.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod fuzz;
mod lint;
mod proto;
mod run;
mod setup;
mod shell;
mod suite;
#[cfg(test)]
mod tidy;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What make runs")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts auraed as a node without a cluster, runs examples/hello.yaml on it, and says how to reach it.
    Run(run::Options),
    /// Installs and builds what the suite needs, then runs every test.
    Test(suite::TestOptions),
    /// Brings up a real control plane with this machine as its node, until it is interrupted.
    Cluster,
    /// Measures pods' start and stop, beside kubelet and containerd, and prints a table.
    Bench(suite::BenchOptions),
    /// Runs the conformance suites.
    Conformance,
    /// Fuzzes what reads untrusted bytes.
    Fuzz(fuzz::Options),
    /// Format, clippy, protobuf.
    Lint,
    /// Installs and builds what the suite needs; does nothing where it is there and fresh.
    Setup {
        /// Also containerd and runc, which `bench` measures beside this node.
        #[arg(long)]
        peer: bool,
    },
    /// Generates the Rust code of auraed/api from its protobuf files.
    Proto,
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Test(options) => suite::test(&options),
        Command::Cluster => suite::cluster(),
        Command::Bench(options) => suite::bench(&options),
        Command::Conformance => Ok(suite::conformance()),
        Command::Fuzz(options) => fuzz::fuzz(&options),
        Command::Lint => lint::everything(),
        Command::Setup { peer } => setup::run(peer).map(|()| ExitCode::SUCCESS),
        Command::Proto => proto::generate().map(|()| ExitCode::SUCCESS),
    }
}
