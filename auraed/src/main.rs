//! `auraed`: the daemon of an Aurae node, and what its administrator does without it.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong flags or configuration.

use auraed::config::{Config, Flags, LogFormat};
use auraed::daemon::{self, Extent};
use auraed_identity::{ClientId, ClientName, Identity, Owner, Tenant};
use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// The daemon of an Aurae node. Without a command it runs until SIGTERM or SIGINT; pods run on without it.
#[derive(Debug, Parser)]
#[command(name = "auraed", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Certificates of clients.
    Identity {
        #[command(subcommand)]
        command: IdentityCommand,
    },
    /// Prints the effective configuration.
    Config,
    /// Stops every pod and takes bridge, table, cgroups, mounts and run files away. The daemon must not run.
    Cleanup {
        /// Seconds that pods may take to stop [default: each one's own grace period].
        #[arg(long, value_name = "SECONDS")]
        grace: Option<u64>,
        /// Also delete what outlives the daemon on purpose: state, images, identity.
        #[arg(long)]
        everything: bool,
    },
}

#[derive(Debug, Subcommand)]
enum IdentityCommand {
    /// Makes a key and a certificate for a client: tls.key, tls.crt and ca.crt.
    Issue {
        /// The client's name, as kubelet-bridge.
        name: ClientName,
        /// Directory to write into; made where it is absent.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// User that shall own the files: name, number, name:group or uid:gid.
        #[arg(long, value_name = "USER")]
        owner: Option<String>,
        /// Tenant that the client works for.
        #[arg(long, value_name = "NAME", default_value = "system")]
        tenant: Tenant,
    },
}

fn main() -> ExitCode {
    // Before anything speaks TLS; it fails only if somebody was quicker, with the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let config = match Config::load(&arguments.flags) {
        Ok(config) => config,
        Err(error) => return fail(&error.into(), 2),
    };
    if let Err(error) = log_to_standard_error(&config) {
        return fail(&error, 2);
    }
    match execute(arguments.command, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn execute(command: Option<Command>, config: &Config) -> anyhow::Result<()> {
    match command {
        None => Ok(tokio::runtime::Runtime::new()?.block_on(daemon::run(config))?),
        Some(Command::Config) => Ok(io::stdout().write_all(config.to_toml().as_bytes())?),
        Some(Command::Identity { command }) => {
            let IdentityCommand::Issue {
                name,
                out,
                owner,
                tenant,
            } = command;
            issue(config, &ClientId { tenant, name }, &out, owner.as_deref())
        }
        Some(Command::Cleanup { grace, everything }) => {
            let extent = Extent {
                grace: grace.map(Duration::from_secs),
                everything,
            };
            Ok(tokio::runtime::Runtime::new()?.block_on(daemon::cleanup(config, extent))?)
        }
    }
}

fn issue(
    config: &Config,
    client: &ClientId,
    out: &std::path::Path,
    owner: Option<&str>,
) -> anyhow::Result<()> {
    let owner = owner.map(Owner::resolve).transpose()?;
    let identity = Identity::load_or_create(&config.state_dir.join("identity"), config.trust_domain.clone())?;
    identity.issue(client)?.write(out, owner)?;
    Ok(())
}

fn log_to_standard_error(config: &Config) -> anyhow::Result<()> {
    let level = &config.log.level;
    let filter = EnvFilter::try_new(level)
        .map_err(|error| anyhow::anyhow!("log.level: {level:?} is no filter: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match config.log.format {
        LogFormat::Text => builder
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Tells a person what went wrong, and why.
fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr(), "auraed: {error:#}");
    ExitCode::from(code)
}
