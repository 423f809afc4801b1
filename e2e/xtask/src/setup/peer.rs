//! The peer of the benchmarks: containerd as Debian's unstable has it (the stable one is years older than the kubelet), runc
//! and the network plugins of the machine's own release. Unpacked into the cache: nothing of it is installed or started.

use std::path::{Path, PathBuf};

use super::debian::Extent;
use super::{apt, debian};
use crate::shell::cache;

/// Makes it, and gives the directory it is unpacked in.
///
/// # Errors
/// The packages cannot be had.
pub(crate) fn tree() -> anyhow::Result<PathBuf> {
    let plain = debian::Source { configuration: None };
    debian::unpack(
        "peer",
        &[
            "runc",
            "crun",
            "containernetworking-plugins",
            "libseccomp2",
            "libyajl2",
            "libcap2",
        ],
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
    Ok(tree)
}

/// Nothing but unstable.
fn unstable(directory: &Path) -> anyhow::Result<PathBuf> {
    apt::configuration(directory, apt::Kind::Binary, "sid")
}
