//! Where things are: the cache that `cargo xtask setup` fills, and the product's programs beside this one.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The version of Kubernetes that the suite runs, as `e2e/go/kubernetes/go.mod` pins it.
pub const KUBERNETES_VERSION: &str = "v1.37.2";

/// The cache of what is built once: `$AURAE_CACHE`, else `~/.cache/aurae`.
pub fn cache() -> PathBuf {
    if let Some(directory) = std::env::var_os("AURAE_CACHE") {
        return directory.into();
    }
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Path::new(&home).join(".cache/aurae")
}

/// A program of the control plane (or agnhost), built by `cargo xtask setup`.
///
/// # Errors
/// It is not there.
pub fn built(name: &str) -> anyhow::Result<PathBuf> {
    let path = cache().join("bin").join(name);
    if !path.is_file() {
        bail!(
            "{} is missing: run `cargo xtask setup` (or `make test`, which does)",
            path.display()
        );
    }
    Ok(path)
}

/// A program of the product (`auraed`, `aurae`, `kubelet-bridge`, `e2e`): beside the running program, or one level up
/// when that is a test in `deps/`.
///
/// # Errors
/// It is not built.
pub fn product(name: &str) -> anyhow::Result<PathBuf> {
    let current = std::env::current_exe().context("finding the running program")?;
    current
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "{name} is not built beside {}: run `cargo build --workspace --all-targets`",
                current.display()
            )
        })
}

/// A program of the machine, looked up in `PATH` and the administrator's directories.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/bin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}
