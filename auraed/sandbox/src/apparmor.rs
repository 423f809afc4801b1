//! Whether the kernel confines programs by AppArmor profiles. The profile itself is taken on by the container's own process,
//! at its execve.

use std::path::Path;

use crate::Error;

const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// The loaded profiles, a line each: `name (mode)`. Only where securityfs is mounted.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// Longer names are nobody's.
const MAX_NAME: usize = 255;

/// Whether this kernel has AppArmor and it is in force.
pub fn is_enabled() -> bool {
    fs_err::read(Path::new(ENABLED)).is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Refuses a profile that no container can have here.
pub(crate) fn check(profile: &str) -> Result<(), Error> {
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

    #[test]
    fn a_name_that_would_be_another_command_is_refused() {
        for name in ["", "a b", "a\nexec b", &"x".repeat(300)] {
            assert!(matches!(check(name), Err(Error::Refused(text)) if text.contains("not the name")));
        }
    }
}
