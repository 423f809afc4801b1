//! Configurations of apt with nothing in them but one suite of Debian, for what the machine's own release has not.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::shell::output;

/// The keys that every Debian has; they also sign the releases after its own.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Which lists a configuration has.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Programs.
    Binary,
    /// What they are built from.
    Source,
}

/// Writes a configuration for `suite` beside `directory`, fetches its lists, and gives its file, for `APT_CONFIG`.
///
/// # Errors
/// The machine names no mirror, or that cannot be reached.
pub(super) fn configuration(directory: &Path, kind: Kind, suite: &str) -> anyhow::Result<PathBuf> {
    let apt = directory.with_extension("apt");
    for below in ["lists/partial", "archives/partial"] {
        fs_err::create_dir_all(apt.join(below))?;
    }
    let word = match kind {
        Kind::Binary => "deb",
        Kind::Source => "deb-src",
    };
    fs_err::write(
        apt.join("sources.list"),
        format!("{word} [signed-by={KEYRING}] {} {suite} main\n", mirror()?),
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
