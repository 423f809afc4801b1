//! What a reviewer should not have to say: format, clippy without warnings, protobuf style.

use std::process::{Command, ExitCode};

use crate::setup;
use crate::shell::{cargo, root, run};

/// All of them; the first that fails ends it.
pub(crate) fn everything() -> anyhow::Result<ExitCode> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    run(Command::new(setup::buf()?)
        .arg("lint")
        .current_dir(root().join("auraed/api")))?;
    Ok(ExitCode::SUCCESS)
}
