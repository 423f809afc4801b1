//! Makes a machine ready for the suite, and does nothing where it is: tools from Debian's packages, the control plane,
//! critest and what the images run, built from Go modules and from C. Everything but a few small tools lands in the cache,
//! so that no service is installed on the machine; each step says what it does and how long it took.

mod apt;
mod compiled;
pub(crate) mod debian;
mod go;
pub(crate) mod peer;
mod second_kernel;

use std::path::Path;

use anyhow::{Context, bail};

use crate::shell::{cache, find, is_root, say, target};

/// All that `test`, `cluster` and `bench` need.
///
/// # Errors
/// No root, no cargo or go, or a step fails.
pub(crate) fn everything() -> anyhow::Result<()> {
    let _alone = alone()?;
    debian::tools()?;
    debian::trees()?;
    compiled::programs()?;
    second_kernel::fetch()?;
    go::programs()
}

/// [`everything`], and the benchmarks' peer if it is asked for.
///
/// # Errors
/// As [`everything`].
pub(crate) fn run(peer: bool) -> anyhow::Result<()> {
    everything()?;
    if peer {
        let _alone = alone()?;
        peer::tree()?;
    }
    Ok(())
}

/// What `run` needs: Debian's static busybox and the tools that auraed's network is looked at with.
///
/// # Errors
/// As [`everything`].
pub(crate) fn busybox() -> anyhow::Result<std::path::PathBuf> {
    let _alone = alone()?;
    debian::busybox()
}

/// What `lint` needs: buf.
///
/// # Errors
/// No go, or it cannot be built.
pub(crate) fn buf() -> anyhow::Result<std::path::PathBuf> {
    let _alone = alone()?;
    go::buf()
}

/// Waits until no other set-up is at work in the cache.
fn alone() -> anyhow::Result<std::fs::File> {
    root()?;
    lock(&cache().join("setup.lock"), "another set-up")
}

/// Waits until nobody else runs tests of what is built in the build directory, which checkouts share: the programs that the
/// tests run would be another's.
pub(crate) fn alone_in_build() -> anyhow::Result<std::fs::File> {
    lock(&target().join("suite.lock"), "another run of the tests")
}

/// The lock's end is the end of the file, or of this process.
fn lock(path: &Path, other: &str) -> anyhow::Result<std::fs::File> {
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let file = fs_err::File::create(path)?.into_file();
    if file.try_lock().is_err() {
        say(format_args!("waiting for {other} ({})", path.display()));
        file.lock().with_context(|| format!("waiting for {other}"))?;
    }
    Ok(file)
}

fn root() -> anyhow::Result<()> {
    if !is_root() {
        bail!(
            "this needs root: auraed makes namespaces, mounts and cgroups, and packages may be missing; run it with sudo"
        );
    }
    if find("cc").is_none() {
        bail!("there is no C compiler, which two Rust crates need: apt-get install gcc libc6-dev");
    }
    Ok(())
}
