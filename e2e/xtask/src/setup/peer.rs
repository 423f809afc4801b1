//! The peer of the benchmarks: containerd as Debian's unstable has it (the stable one is years older than the kubelet), runc
//! and the network plugins of the machine's own release. Unpacked into the cache: nothing of it is installed or started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use super::debian;
use crate::shell::{cache, output};

/// Makes it, and gives the directory it is unpacked in.
///
/// # Errors
/// The packages cannot be had.
pub(crate) fn tree() -> anyhow::Result<PathBuf> {
    let plain = debian::Source { configuration: None };
    debian::unpack(
        "peer",
        &["runc", "containernetworking-plugins", "libseccomp2"],
        &plain,
    )?;
    let unstable = debian::Source {
        configuration: Some(unstable),
    };
    let containerd = debian::unpack("containerd", &["containerd"], &unstable)?;
    let tree = cache().join("debian/peer");
    for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
        let target = tree.join("usr/bin").join(program);
        if !target.exists() {
            fs_err::copy(containerd.join("usr/bin").join(program), target)?;
        }
    }
    Ok(tree)
}

/// An apt configuration of its own, with nothing but unstable in it.
fn unstable(directory: &Path) -> anyhow::Result<PathBuf> {
    let apt = directory.with_extension("apt");
    for below in ["lists/partial", "archives/partial"] {
        fs_err::create_dir_all(apt.join(below))?;
    }
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    fs_err::write(
        apt.join("sources.list"),
        format!("deb [signed-by={keyring}] {} sid main\n", mirror()?),
    )?;
    let configuration = apt.join("apt.conf");
    fs_err::write(
        &configuration,
        format!(
            "Dir::Etc::sourcelist \"{apt}/sources.list\";
Dir::Etc::sourceparts \"-\";
Dir::State::lists \"{apt}/lists\";
Dir::Cache::archives \"{apt}/archives\";
Dir::Cache::pkgcache \"\";
Dir::Cache::srcpkgcache \"\";
APT::Sandbox::User \"root\";
",
            apt = apt.display()
        ),
    )?;
    output(
        Command::new("apt-get")
            .args(["update", "-qq"])
            .env("APT_CONFIG", &configuration),
    )?;
    Ok(configuration)
}

/// The mirror that this machine uses.
fn mirror() -> anyhow::Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs_err::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    let text: String = files
        .iter()
        .filter_map(|file| fs_err::read_to_string(file).ok())
        .collect::<Vec<_>>()
        .join("\n");
    match mirror_in(&text) {
        Some(mirror) => Ok(mirror.to_owned()),
        None => bail!("no mirror of Debian in /etc/apt/sources.list*"),
    }
}

/// The first address of the main archive, in the one-line form of apt's sources or in deb822's.
fn mirror_in(text: &str) -> Option<&str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    words.find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_found_in_both_forms() {
        let lines = "# deb http://old.example/debian stable main\ndeb [arch=amd64] http://mirror.example/debian/ stable main\n";
        assert_eq!(mirror_in(lines), Some("http://mirror.example/debian/"));
        let stanza = "Types: deb\nURIs: http://mirror.example/debian-security\n\nTypes: deb\nURIs: http://mirror.example/debian\n";
        assert_eq!(mirror_in(stanza), Some("http://mirror.example/debian"));
        assert_eq!(mirror_in(""), None);
    }
}
