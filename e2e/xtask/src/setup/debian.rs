//! Debian's packages: a few small tools are installed; what would start a service (a registry, nginx, containerd) is
//! unpacked into the cache instead.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::shell::{cache, find, output, run, say};

/// A program that must be there, and the package that has it.
const TOOLS: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("setpriv", "util-linux"),
    ("nsenter", "util-linux"),
    ("curl", "curl"),
    ("script", "bsdutils"),
    ("make", "make"),
    ("bzip2", "bzip2"),
];

/// Which packages are unpacked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Those that are named.
    Named,
    /// Also what they depend on, as if the machine had nothing.
    Closure,
}

/// What is unpacked together: a directory of the cache, and packages.
const TREES: [(&str, &[&str], Extent); 6] = [
    ("busybox", &["busybox-static"], Extent::Named),
    ("docker-registry", &["docker-registry"], Extent::Named),
    (
        "nginx",
        &[
            "nginx",
            "nginx-common",
            "libc6",
            "libgcc-s1",
            "libpcre2-8-0",
            "libssl3",
            "zlib1g",
            "libcrypt1",
        ],
        Extent::Named,
    ),
    // The reference network plugins, and the iptables that some of them run.
    (
        "cni",
        &[
            "containernetworking-plugins",
            "iptables",
            "libip4tc2",
            "libip6tc2",
            "libmnl0",
            "libnetfilter-conntrack3",
            "libnfnetlink0",
            "libnftnl11",
            "libxtables12",
        ],
        Extent::Named,
    ),
    // What loads AppArmor's profiles, where a kernel has that.
    ("apparmor", &["apparmor"], Extent::Named),
    // What Kubernetes' test images have beside busybox.
    (
        "tools",
        &[
            "bash",
            "bind9-dnsutils",
            "curl",
            "iproute2",
            "iputils-ping",
            "netcat-openbsd",
            "socat",
            "util-linux",
        ],
        Extent::Closure,
    ),
];

/// Where packages come from.
pub(super) struct Source {
    /// Writes an apt configuration for the tree in this directory, and gives its file; none means the machine's own.
    pub(super) configuration: Option<fn(&Path) -> anyhow::Result<PathBuf>>,
}

const MACHINE: Source = Source { configuration: None };

/// Installs the tools that are missing.
pub(super) fn tools() -> anyhow::Result<()> {
    let mut missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    say(format_args!("setup: installing {}", missing.join(", ")));
    update()?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        // For another one at work: it waits by itself here.
        .args(["-o", "DPkg::Lock::Timeout=600"])
        .args(missing)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut install)
}

/// Unpacks what the suite's images and registry are made of.
pub(super) fn trees() -> anyhow::Result<()> {
    for (name, packages, extent) in TREES {
        unpack(name, packages, extent, &MACHINE)?;
    }
    Ok(())
}

/// Debian's static busybox.
pub(super) fn busybox() -> anyhow::Result<PathBuf> {
    let (name, packages, extent) = TREES[0];
    Ok(unpack(name, packages, extent, &MACHINE)?.join("bin/busybox"))
}

/// The search path with the programs of [`trees`] in front, for tests that run them.
pub(crate) fn path() -> anyhow::Result<OsString> {
    let programs = ["busybox/bin", "docker-registry/usr/bin"].map(|tree| cache().join("debian").join(tree));
    let given = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(
        programs.into_iter().chain(std::env::split_paths(&given)),
    )?)
}

/// Fetches packages and unpacks them together below `debian/NAME` of the cache.
pub(super) fn unpack(
    name: &str,
    packages: &[&str],
    extent: Extent,
    source: &Source,
) -> anyhow::Result<PathBuf> {
    let tree = cache().join("debian").join(name);
    let stamp = tree.with_extension("stamp");
    if fs_err::read_to_string(&stamp).is_ok_and(|made| made == packages.join("\n")) {
        return Ok(tree);
    }
    let started = Instant::now();
    say(format_args!(
        "setup: unpacking Debian's {} into {}",
        packages.join(", "),
        tree.display()
    ));
    let archives = tree.with_extension("archives");
    // First: what is left of this if it is interrupted is no tree.
    forget(&stamp)?;
    for directory in [&tree, &archives] {
        if directory.exists() {
            fs_err::remove_dir_all(directory)?;
        }
        fs_err::create_dir_all(directory)?;
    }
    let configuration = source.configuration.map(|write| write(&tree)).transpose()?;
    fetch(&archives, packages, extent, configuration.as_deref())?;
    for entry in fs_err::read_dir(&archives)? {
        let archive = entry?.path();
        // Beside them are apt's lock and its directory of partial downloads.
        if archive.extension().is_some_and(|extension| extension == "deb") {
            output(Command::new("dpkg-deb").arg("-x").arg(archive).arg(&tree))?;
        }
    }
    fs_err::remove_dir_all(&archives)?;
    fs_err::write(stamp, packages.join("\n"))?;
    say(format_args!(
        "setup: {name} in {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    Ok(tree)
}

fn fetch(
    archives: &Path,
    packages: &[&str],
    extent: Extent,
    configuration: Option<&Path>,
) -> anyhow::Result<()> {
    if find("apt-get").is_none() {
        bail!(
            "there is no apt-get: the suite makes its images from Debian's packages, so it runs on Debian and its children"
        );
    }
    let download = || {
        // As root's own user: the sandbox user of apt may not write into the cache.
        let mut command = Command::new("apt-get");
        command
            .current_dir(archives)
            .args(["-q", "-o", "APT::Sandbox::User=root"]);
        match extent {
            Extent::Named => command.arg("download"),
            Extent::Closure => command
                .args(["-o", "Dir::State::status=/dev/null", "-o"])
                .arg(format!("Dir::Cache::archives={}", archives.display()))
                .args(["--download-only", "--no-install-recommends", "-y", "install"]),
        };
        command.args(packages);
        command.envs(configuration.map(|file| ("APT_CONFIG", file)));
        output(&mut command)
    };
    if download().is_err() {
        // The lists of a fresh machine are empty, and old ones name packages that are gone.
        update()?;
        download().context("fetching packages")?;
    }
    Ok(())
}

/// How long and how often apt is asked again while another one is at work: a fresh machine updates itself after its boot.
const PAUSE: Duration = Duration::from_secs(5);
const TRIES: u32 = 120;

fn update() -> anyhow::Result<()> {
    patiently(|| {
        let mut command = Command::new("apt-get");
        // Its messages are looked at.
        command.args(["update", "-qq"]).env("LC_ALL", "C");
        output(&mut command).map(drop)
    })
}

/// Does something with apt again while another one has its lists locked, for which it does not wait by itself.
fn patiently(mut act: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    for tried in 1.. {
        match act() {
            Err(error) if tried < TRIES && is_locked(&error.to_string()) => {
                if tried == 1 {
                    say("setup: waiting for another apt");
                }
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
    Ok(())
}

/// Whether apt says that another one has a lock.
fn is_locked(message: &str) -> bool {
    message.contains("Could not get lock") || message.contains("Unable to lock")
}

/// Takes a stamp away before what it vouches for is changed.
pub(super) fn forget(stamp: &Path) -> anyhow::Result<()> {
    match fs_err::remove_file(stamp) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_apt_is_waited_for() {
        let lock = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)";
        assert!(is_locked(lock));
        assert!(!is_locked("E: Unable to locate package none"));
        let mut calls = 0;
        let failed = patiently(|| {
            calls += 1;
            bail!("E: Unable to locate package none")
        });
        assert_eq!((failed.is_err(), calls), (true, 1));
    }

    #[test]
    fn a_stamp_is_forgotten_once_or_twice() -> anyhow::Result<()> {
        let stamp = std::env::temp_dir().join(format!("aurae-stamp-{}", std::process::id()));
        fs_err::write(&stamp, "made")?;
        forget(&stamp)?;
        assert!(!stamp.exists());
        forget(&stamp)
    }
}
