//! The peer of the benchmarks: containerd as Debian's unstable has it (the stable one is years older than the kubelet), crun of
//! the release before, runc and the network plugins of the machine's own release. Unpacked into the cache: nothing of it is installed
//! or started.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian::Extent;
use super::{apt, debian};
use crate::shell::{cache, output};

/// Makes it, and gives the directory it is unpacked in.
///
/// # Errors
/// The packages cannot be had.
pub(crate) fn tree() -> anyhow::Result<PathBuf> {
    let plain = debian::Source { configuration: None };
    debian::unpack(
        "peer",
        &["runc", "containernetworking-plugins", "libseccomp2", "patchelf"],
        Extent::Named,
        &plain,
    )?;
    let unstable = debian::Source {
        configuration: Some(unstable),
    };
    let containerd = debian::unpack("containerd", &["containerd"], Extent::Named, &unstable)?;
    let tree = cache().join("debian/peer");
    for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
        let target = tree.join("usr/bin").join(program);
        if !target.exists() {
            fs_err::copy(containerd.join("usr/bin").join(program), target)?;
        }
    }
    crun(&tree)?;
    Ok(tree)
}

/// crun: the machine's own release has one that is too old for this containerd, and unstable's wants nothing but cgroup v2.
/// It needs a C library that is newer than the machine's: it gets its own, by name in the program itself, because crun
/// executes itself anew by way of /proc.
fn crun(tree: &Path) -> anyhow::Result<()> {
    let packages = [
        "crun",
        "libc6",
        "libcap2",
        "libseccomp2",
        "libsystemd0",
        "libyajl2",
    ];
    let trixie = debian::Source {
        configuration: Some(trixie),
    };
    let own = debian::unpack("crun", &packages, Extent::Named, &trixie)?;
    let target = tree.join("usr/bin/crun");
    if target.exists() {
        return Ok(());
    }
    let libraries = own.join("usr/lib/x86_64-linux-gnu");
    let mut patch = Command::new(tree.join("usr/bin/patchelf"));
    patch
        .arg("--set-interpreter")
        .arg(libraries.join("ld-linux-x86-64.so.2"));
    // Before LD_LIBRARY_PATH, which is the machine's own release.
    patch.arg("--force-rpath").arg("--set-rpath").arg(&libraries);
    patch.arg("--output").arg(&target).arg(own.join("usr/bin/crun"));
    output(&mut patch).map(drop)
}

fn trixie(directory: &Path) -> anyhow::Result<PathBuf> {
    apt::configuration(directory, apt::Kind::Binary, "trixie")
}

/// Nothing but unstable.
fn unstable(directory: &Path) -> anyhow::Result<PathBuf> {
    apt::configuration(directory, apt::Kind::Binary, "sid")
}
