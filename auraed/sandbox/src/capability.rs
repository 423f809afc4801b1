//! Sets of capabilities, by the names of capabilities(7).

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities(u64);

/// No capability has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {0:?}")]
pub struct UnknownCapability(pub String);

/// In the order of their numbers (include/uapi/linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What containers have unless they ask for more or less.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

impl Capabilities {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The default set with some added and some dropped. `ALL` is understood in both; a leading `CAP_` is too. A name in
    /// both lists is dropped; `ALL` in either comes before single names.
    pub fn default_with(add: &[String], drop: &[String]) -> Result<Self, UnknownCapability> {
        let mut set = Self::standard();
        if add.iter().any(|name| is_all(name)) {
            set = Self::ALL;
        }
        if drop.iter().any(|name| is_all(name)) {
            set = Self::NONE;
        }
        for name in add.iter().filter(|name| !is_all(name)) {
            set.0 |= bit(name)?;
        }
        for name in drop.iter().filter(|name| !is_all(name)) {
            set.0 &= !bit(name)?;
        }
        Ok(set)
    }

    /// These and no others; `ALL` is understood, a leading `CAP_` too.
    pub fn of(names: &[String]) -> Result<Self, UnknownCapability> {
        let mut set = Self::NONE;
        for name in names {
            set.0 |= if is_all(name) { Self::ALL.0 } else { bit(name)? };
        }
        Ok(set)
    }

    /// The bits, as in capability.h.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether the set has this one.
    pub fn has(self, name: &str) -> bool {
        bit(name).is_ok_and(|bit| self.0 & bit != 0)
    }

    fn standard() -> Self {
        Self(
            DEFAULT
                .iter()
                .filter_map(|name| bit(name).ok())
                .fold(0, |set, bit| set | bit),
        )
    }
}

impl Default for Capabilities {
    /// What containers have unless they ask for more or less.
    fn default() -> Self {
        Self::standard()
    }
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL")
}

fn bit(name: &str) -> Result<u64, UnknownCapability> {
    let short = match name.split_at_checked(4) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("CAP_") => rest,
        _ => name,
    };
    let number = NAMES.iter().position(|known| known.eq_ignore_ascii_case(short));
    number
        .map(|number| 1 << number)
        .ok_or_else(|| UnknownCapability(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_default_set_is_the_well_known_one() {
        assert_eq!(Capabilities::default().bits(), 0xa804_25fb);
        assert_eq!(Capabilities::ALL.bits(), 0x1ff_ffff_ffff);
    }

    #[test]
    fn all_comes_before_single_names() {
        let set = Capabilities::default_with(&names(&["NET_BIND_SERVICE"]), &names(&["ALL"])).unwrap();
        assert_eq!(set.bits(), 1 << 10);
        let set = Capabilities::default_with(&names(&["all"]), &names(&["CAP_SYS_ADMIN"])).unwrap();
        assert_eq!(set.bits(), Capabilities::ALL.bits() & !(1 << 21));
        assert!(!set.has("SYS_ADMIN"));
    }

    #[test]
    fn names_are_understood_in_any_case_and_with_their_prefix() {
        for name in [
            "SYS_ADMIN",
            "sys_admin",
            "CAP_SYS_ADMIN",
            "cap_sys_admin",
            "Cap_Sys_Admin",
        ] {
            assert_eq!(
                Capabilities::of(&names(&[name])).unwrap().bits(),
                1 << 21,
                "{name}"
            );
        }
        assert_eq!(Capabilities::of(&names(&["All"])).unwrap(), Capabilities::ALL);
        assert_eq!(Capabilities::of(&[]).unwrap(), Capabilities::NONE);
        for name in ["", "CAP_", "CAP_ALLS", "SYS_ADMIN ", "ÄÖÜ", "CAP_CAP_KILL"] {
            Capabilities::of(&names(&[name])).unwrap_err();
        }
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = Capabilities::default_with(&names(&["NET_ADMINS"]), &[]).unwrap_err();
        assert_eq!(error.to_string(), r#"unknown capability "NET_ADMINS""#);
    }
}
