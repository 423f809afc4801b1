//! `aurae`: the command line of a node. Each command is one file; what they share is here in four more: how to reach the
//! daemon ([`session`]), how to speak to people and programs ([`printer`], [`message`]), and what a file of manifests
//! holds ([`manifest`]).
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 it failed, 2 wrong usage;
//! `exec` ends with the program's own.

mod arguments;
mod completion;
mod events;
mod exec;
mod failure;
mod image;
mod logs;
mod manifest;
mod message;
mod node;
mod plan;
mod printer;
mod ps;
mod rm;
mod run;
mod session;
mod stop;
mod version;
mod why;

use arguments::{Arguments, Command, ImageCommand};
use clap::Parser as _;
use failure::Failure;
use session::Session;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Only a second caller could make this fail, and there is none.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(),
    };
    let outcome = runtime.block_on(dispatch(arguments));
    // A read of a terminal cannot be called off: leave without waiting for it.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

async fn dispatch(arguments: Arguments) -> Result<ExitCode, Failure> {
    let session = Session::new(&arguments.connection, arguments.output);
    match arguments.command {
        Command::Run(options) => run::run(&session, options).await?,
        Command::Plan(options) => return plan::plan(&session, options).await,
        Command::Ps(options) => ps::ps(&session, options).await?,
        Command::Logs(options) => logs::logs(&session, options).await?,
        Command::Exec(options) => return exec::exec(&session, options).await,
        Command::Stop(options) => stop::stop(&session, options).await?,
        Command::Rm(options) => rm::rm(&session, options).await?,
        Command::Images => image::list(&session).await?,
        Command::Pull(options) => image::pull(&session, options).await?,
        Command::Image { command } => match command {
            ImageCommand::Ls => image::list(&session).await?,
            ImageCommand::Pull(options) => image::pull(&session, options).await?,
            ImageCommand::Import(options) => image::import(&session, options).await?,
            ImageCommand::Rm(options) => image::remove(&session, options).await?,
        },
        Command::Events(options) => events::events(&session, options).await?,
        Command::Why(options) => why::why(&session, options).await?,
        Command::Node => node::node(&session).await?,
        Command::Version => version::version(&session).await?,
        Command::Completion { shell } => completion::completion(shell)?,
    }
    Ok(ExitCode::SUCCESS)
}
