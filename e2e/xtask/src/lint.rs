//! What a reviewer should not have to say: format, clippy without warnings, protobuf style.

use std::process::{Command, ExitCode};

use crate::shell::{cargo, find, root, run, say};

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
    if find("buf").is_some() {
        run(Command::new("buf")
            .arg("lint")
            .current_dir(root().join("auraed/api")))?;
    } else {
        say(
            "lint: buf is not installed, so the protobuf files are not linted: go install github.com/bufbuild/buf/cmd/buf@latest",
        );
    }
    Ok(ExitCode::SUCCESS)
}
