//! AppArmor: whether the kernel confines programs by profiles, and the profile of containers that ask for none in particular.
//! A profile is taken on by the container's own process, at its execve.
//!
//! The default profile is loaded once a start, by AppArmor's own parser. It stays in the kernel, where containers that
//! outlive a daemon are confined by it; so whether there is one is asked of the kernel, each time.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::Error;

const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// The loaded profiles, a line each: `name (mode)`. Only where securityfs is mounted.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// The profile of containers that ask for none in particular, and its rules.
const DEFAULT: &str = "aurae-default";
const RULES: &str = include_str!("apparmor/default.profile");
const PARSER: &str = "apparmor_parser";
/// Far more than compiling one profile takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer names are nobody's.
const MAX_NAME: usize = 255;

/// Whether this kernel has AppArmor and it is in force.
pub fn is_enabled() -> bool {
    fs_err::read(Path::new(ENABLED)).is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// The profile for a container that asks for none in particular; none where [`load_default`] could not load it.
pub fn default_profile() -> Option<&'static str> {
    let list = is_enabled().then(|| fs_err::read_to_string(PROFILES))?.ok()?;
    is_listed(DEFAULT, &list).then_some(DEFAULT)
}

/// Loads the default profile, in place of one that an earlier daemon loaded. Whether there is one now: not on a kernel
/// without AppArmor, nor where nobody can load profiles because there is no `apparmor_parser`.
///
/// # Errors
/// The parser cannot be run, or refuses; with what it said.
pub async fn load_default() -> io::Result<bool> {
    if !is_enabled() {
        return Ok(false);
    }
    let Some(parser) = find_parser() else {
        return Ok(false);
    };
    tokio::time::timeout(PATIENCE, load(&parser))
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the parser does not end")))
        .map(|()| true)
}

async fn load(parser: &Path) -> io::Result<()> {
    let mut child = Command::new(parser)
        .args(["--replace", "--skip-cache", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        match input.write_all(RULES.as_bytes()).await {
            // It ended without reading all: how, and what it says, tells why.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let output = child.wait_with_output().await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "{} ended with {}: {}",
        parser.display(),
        output.status,
        said.trim()
    )))
}

/// In the search path, else where distributions have it.
fn find_parser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let directories = std::env::split_paths(&path).chain(usual);
    let mut places = directories.map(|directory| directory.join(PARSER));
    places.find(|place| place.is_file())
}

/// Refuses a profile that no container can have here.
///
/// # Errors
/// [`Error::Refused`]: it is not the name of one, not loaded, or this kernel has no AppArmor.
pub fn check(profile: &str) -> Result<(), Error> {
    let fits = !profile.is_empty()
        && profile.len() <= MAX_NAME
        && !profile.chars().any(|char| char.is_control() || char == ' ');
    if !fits {
        return Err(Error::Refused(format!(
            "{profile:?} is not the name of an AppArmor profile"
        )));
    }
    if !is_enabled() {
        return Err(Error::Refused(format!(
            "AppArmor profile {profile:?} cannot be applied: this kernel has no AppArmor"
        )));
    }
    // Where the list cannot be read, the kernel tells when the profile is taken on.
    match fs_err::read_to_string(PROFILES) {
        Ok(list) if !is_listed(profile, &list) => Err(Error::Refused(format!(
            "AppArmor profile {profile:?} is not loaded"
        ))),
        _ => Ok(()),
    }
}

fn is_listed(profile: &str, list: &str) -> bool {
    list.lines()
        .any(|line| line.rsplit_once(" (").map_or(line, |(name, _)| name) == profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_their_whole_name() {
        let list = "docker-default (enforce)\n/usr/bin/man (complain)\n";
        assert!(is_listed("docker-default", list));
        assert!(is_listed("/usr/bin/man", list));
        assert!(!is_listed("docker", list));
        assert!(!is_listed("", list));
    }

    #[tokio::test]
    async fn a_parser_that_does_not_read_is_told_by_its_end() {
        for _time in 0..20 {
            let error = load(Path::new("false")).await.unwrap_err();
            assert!(error.to_string().contains("exit status: 1"), "{error}");
        }
        load(Path::new("true")).await.unwrap();
    }

    #[test]
    fn the_default_profile_has_its_name() {
        assert!(RULES.contains(&format!("profile {DEFAULT} flags=")));
    }

    #[test]
    fn a_name_that_would_be_another_command_is_refused() {
        for name in ["", "a b", "a\nexec b", &"x".repeat(300)] {
            assert!(matches!(check(name), Err(Error::Refused(text)) if text.contains("not the name")));
        }
    }
}
