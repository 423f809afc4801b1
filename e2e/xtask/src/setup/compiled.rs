//! What is compiled from C: the busybox and the pause of Kubernetes' test images.
//!
//! Debian's own static busybox is not what those images have: it lacks pgrep and ipcs, and its shell runs applets without
//! executing them, so that a masked program still runs.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use super::{apt, debian};
use crate::shell::{cache, output, root, say};

/// The release of Debian whose busybox it is: the one with 1.37.
const SUITE: &str = "trixie";
const ARCHIVE: &str = "busybox_1.37.0.orig.tar.bz2";
/// Its default configuration, static, without the one applet that headers of newer kernels do not compile.
const CHANGES: [(&str, &str); 2] = [("CONFIG_STATIC", "y"), ("CONFIG_TC", "n")];

/// Compiles what is missing or stale.
pub(super) fn programs() -> anyhow::Result<()> {
    let bin = cache().join("bin");
    fs_err::create_dir_all(&bin)?;
    stamped(&bin, "busybox", &format!("{ARCHIVE} {CHANGES:?}"), busybox)?;
    let source = root().join("e2e/src/containerd/pause.c");
    stamped(&bin, "pause", &fs_err::read_to_string(&source)?, |target| {
        output(
            Command::new("cc")
                .args(["-static", "-Os", "-s", "-o"])
                .arg(target)
                .arg(&source),
        )
        .map(drop)
    })
}

/// Makes `name` in `bin` unless it is there and was made of the same `inputs`.
fn stamped(
    bin: &Path,
    name: &str,
    inputs: &str,
    make: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (target, stamp) = (bin.join(name), bin.join(format!(".{name}.stamp")));
    if target.is_file() && fs_err::read_to_string(&stamp).is_ok_and(|made| made == inputs) {
        return Ok(());
    }
    let started = Instant::now();
    let fresh = bin.join(format!(".{name}.fresh"));
    make(&fresh)?;
    debian::forget(&stamp)?;
    fs_err::rename(fresh, target)?;
    fs_err::write(stamp, inputs)?;
    say(format_args!(
        "setup: {name} in {:.0} s",
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Builds busybox from the archive of Debian's source package, which apt fetches and checks.
fn busybox(target: &Path) -> anyhow::Result<()> {
    say("setup: compiling busybox from Debian's source (once; a minute or two)");
    let place = cache().join("busybox-source");
    if place.exists() {
        fs_err::remove_dir_all(&place)?;
    }
    fs_err::create_dir_all(&place)?;
    let configuration = apt::configuration(&place, apt::Kind::Source, SUITE)?;
    output(
        Command::new("apt-get")
            .current_dir(&place)
            .args(["source", "-qq", "--download-only", "busybox"])
            .env("APT_CONFIG", &configuration),
    )?;
    output(
        Command::new("tar")
            .current_dir(&place)
            .args(["--strip-components=1", "-xjf", ARCHIVE]),
    )
    .with_context(|| format!("{SUITE}'s busybox is no longer {ARCHIVE}"))?;
    let make = |arguments: &[&str]| output(Command::new("make").current_dir(&place).args(arguments));
    make(&["defconfig"])?;
    let options = place.join(".config");
    let mut text = fs_err::read_to_string(&options)?;
    for (name, value) in CHANGES {
        text = set(&text, name, value)?;
    }
    fs_err::write(&options, text)?;
    // What the changes bring with them takes its default.
    output(
        Command::new("sh")
            .current_dir(&place)
            .args(["-c", "yes '' | make oldconfig"]),
    )?;
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    make(&[&format!("-j{processors}"), "busybox"])?;
    fs_err::rename(place.join("busybox"), target)?;
    fs_err::remove_dir_all(&place)?;
    fs_err::remove_dir_all(place.with_extension("apt"))?;
    Ok(())
}

/// Sets an option in Kconfig's format.
fn set(text: &str, name: &str, value: &str) -> anyhow::Result<String> {
    let mut found = false;
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let named = line.strip_prefix("# ").unwrap_or(line).strip_prefix(name);
            if named.is_some_and(|rest| rest.starts_with([' ', '='])) {
                found = true;
                format!("{name}={value}")
            } else {
                line.to_owned()
            }
        })
        .collect();
    if !found {
        bail!("busybox has no option {name}");
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_set_whatever_it_was() -> anyhow::Result<()> {
        let text = "CONFIG_TC=y\n# CONFIG_STATIC is not set\nCONFIG_STATIC_LIBGCC=y\n";
        let text = set(&set(text, "CONFIG_STATIC", "y")?, "CONFIG_TC", "n")?;
        assert_eq!(text, "CONFIG_TC=n\nCONFIG_STATIC=y\nCONFIG_STATIC_LIBGCC=y\n");
        assert!(set(&text, "CONFIG_NONE", "y").is_err());
        Ok(())
    }
}
