//! placeholder
use std::process::ExitCode;
#[derive(clap::Args)]
pub(crate) struct Options {}
pub(crate) fn run(_: &Options) -> anyhow::Result<ExitCode> {
    let _ = crate::setup::busybox()?;
    Ok(ExitCode::SUCCESS)
}
