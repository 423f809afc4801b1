//! The kernel with pure cgroup v2 that one test runs on: fetched by its own tool at its first use, which must be here and
//! not in the test, whose network reaches nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{root, run, say};

/// Has the tool fetch its kernel. Nothing to do where there is no tool: the test says then that it is skipped.
pub(super) fn fetch() -> anyhow::Result<()> {
    let named = std::env::var_os("AURAE_V2_KERNEL").map(PathBuf::from);
    let tool = named.unwrap_or_else(|| root().join("../shared/tools/v2-kernel"));
    if !tool.exists() || home().join("linux").exists() {
        return Ok(());
    }
    say("setup: fetching a kernel with cgroup v2 alone");
    run(Command::new(tool).args(["--", "true"]))
}

/// Where the tool keeps its kernel.
fn home() -> PathBuf {
    if let Some(home) = std::env::var_os("V2_KERNEL_HOME") {
        return home.into();
    }
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Path::new(&home).join(".cache/v2-kernel")
}
