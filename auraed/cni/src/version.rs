//! Versions of the protocol, and what each can do.

use std::fmt;
use std::str::FromStr;

/// A version of the protocol that this crate speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.3.0: chains, and results with interfaces.
    V0_3_0,
    /// 0.3.1: the same with a mistake in a name mended.
    V0_3_1,
    /// 0.4.0: CHECK, and DEL gets the result of ADD.
    V0_4_0,
    /// 1.0.0: only lists, and addresses without their family.
    V1_0_0,
    /// 1.1.0: GC and STATUS.
    V1_1_0,
}

/// It is no version that this crate speaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CNI version {0:?} is not spoken here: 0.3.0 to 1.1.0 are")]
pub struct UnknownVersion(pub(crate) String);

const ALL: [Version; 5] = [
    Version::V0_3_0,
    Version::V0_3_1,
    Version::V0_4_0,
    Version::V1_0_0,
    Version::V1_1_0,
];

impl Version {
    /// The newest one.
    pub const NEWEST: Version = Version::V1_1_0;

    /// As it is written in configurations and results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// Plugins know CHECK, and want the result of ADD for it and for DEL.
    #[must_use]
    pub fn has_check(self) -> bool {
        self >= Version::V0_4_0
    }

    /// Plugins know GC and STATUS.
    #[must_use]
    pub fn has_status(self) -> bool {
        self >= Version::V1_1_0
    }

    /// Addresses in results say whether they are of IPv4 or IPv6.
    pub(crate) fn has_families(self) -> bool {
        self < Version::V1_0_0
    }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Version, UnknownVersion> {
        let found = ALL.into_iter().find(|version| version.as_str() == text);
        found.ok_or_else(|| UnknownVersion(text.chars().take(32).collect()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_and_read_back() {
        for pair in ALL.windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for version in ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        for text in ["", "0.2.0", "1.1", "1.1.1", "1.2.0", "v1.0.0", " 1.0.0"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
