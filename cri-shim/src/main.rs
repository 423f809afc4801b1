//! `cri-shim`: a CRI v1 server over auraed.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong flags.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use cri_shim::flags::{Command, Flags};
use cri_shim::{daemon, privileges};

fn main() -> ExitCode {
    let flags = Flags::parse();
    if let Some(Command::Completion { shell }) = flags.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Flags::command(), "cri-shim", &mut script);
        return match io::stdout().write_all(&script) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    logging(flags.verbosity);
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("a TLS provider was installed already");
    }
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> anyhow::Result<()> {
    // Before there are threads: each would keep its own.
    if let Err(error) = privileges::give_up() {
        tracing::warn!(%error, "the privileges that nobody needs are kept");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .max_blocking_threads(2)
        .thread_name("cri-shim")
        .build()?;
    let outcome = runtime.block_on(daemon::run(flags));
    runtime.shutdown_background();
    Ok(outcome?)
}

/// Logs to standard error; `RUST_LOG` overrides `--v`.
fn logging(verbosity: u8) {
    let default = match verbosity {
        0..=2 => "info",
        3..=4 => "info,cri_shim=debug",
        5..=6 => "debug,hyper=info,h2=info,tower=info,rustls=info",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false)
        .init();
}
