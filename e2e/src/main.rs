//! `e2e`: the suite's tools as a program: a cluster to try, benchmarks, and the guard of every run. `cargo xtask` runs it.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "e2e", about = "A cluster to try, benchmarks, and the guard of a run")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Brings up a control plane with this machine as a node, and stays until it is interrupted.
    Cluster,
    /// Measures starts, stops and memory.
    Bench(e2e::bench::Options),
    /// Measures runtimes through the CRI.
    BenchCri(e2e::bench::cri::Options),
    /// Runs critest over auraed with cri-shim, or over containerd.
    Critest(e2e::critest::Options),
    /// Waits for the end of its standard input, then removes everything of a run.
    #[command(hide = true)]
    Guard {
        /// The directory of the run.
        directory: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    // Fails only if a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Arguments::parse().command {
        Command::Cluster => runtime()?.block_on(e2e::demo::run()),
        Command::Bench(options) => runtime()?.block_on(e2e::bench::run(&options)),
        Command::BenchCri(options) => runtime()?.block_on(e2e::bench::cri::run(&options)),
        Command::Critest(options) => e2e::critest::run(&options),
        Command::Guard { directory } => {
            // The write end is closed by the end of the process that holds it, which is all that is waited for.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            e2e::sweep::run(&directory);
            Ok(())
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}
