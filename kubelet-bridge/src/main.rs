//! A node to the API server, without root.

use std::process::ExitCode;

use clap::Parser;
use kubelet_bridge::{bridge, chain, flags::Flags};

fn main() -> ExitCode {
    let flags = Flags::parse();
    logging(flags.verbosity);
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("a TLS provider was installed already");
    }
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain::sources(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> anyhow::Result<()> {
    let settings = flags.settings()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .max_blocking_threads(4)
        .thread_name("kubelet-bridge")
        .build()?;
    let outcome = runtime.block_on(bridge::run(settings));
    runtime.shutdown_background();
    Ok(outcome?)
}

/// Logs to standard error; `RUST_LOG` overrides `--v`.
fn logging(verbosity: u8) {
    let default = match verbosity {
        0..=2 => "info",
        3..=4 => "info,kubelet_bridge=debug",
        5..=6 => "debug,hyper=info,h2=info,tower=info,rustls=info",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}
