//! Names and ids. Each is checked once, and is safe as a single component of a path afterwards.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// Why a text is no name of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing was given where something must be.
    #[error("must not be empty")]
    Empty,
    /// More bytes than allowed.
    #[error("must be at most {limit} characters, not {length}")]
    TooLong {
        /// The most that is allowed.
        limit: usize,
        /// What was given.
        length: usize,
    },
    /// A character that may not be there, or not at that place.
    #[error("{value:?} must {rule}")]
    Characters {
        /// What was given.
        value: String,
        /// What it must satisfy.
        rule: &'static str,
    },
}

const LABEL_RULE: &str =
    "consist of lower-case letters, digits and '-', and begin and end with a letter or digit";
const SUBDOMAIN_RULE: &str =
    "consist of lower-case letters, digits, '-' and '.', and each part begin and end with a letter or digit";
const ID_RULE: &str = "consist of letters, digits, '.', '_' and '-', and not begin with a dot";
const CONTAINER_ID_RULE: &str = "be 64 lower-case hexadecimal digits";

macro_rules! name {
    ($(#[$documentation:meta])* $name:ident, $check:path) => {
        $(#[$documentation])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a text.
            ///
            /// # Errors
            /// [`InvalidName`] says what is wrong with it.
            pub fn new(value: impl Into<String>) -> Result<$name, InvalidName> {
                let value = value.into();
                $check(&value)?;
                Ok($name(value))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(value: &str) -> Result<$name, InvalidName> {
                $name::new(value)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(value: String) -> Result<$name, InvalidName> {
                $name::new(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<std::path::Path> for $name {
            fn as_ref(&self) -> &std::path::Path {
                self.0.as_ref()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

name! {
    /// A pod's id: chosen by the caller, unique on the node, 1 to 63 of `[A-Za-z0-9._-]`, not beginning with a dot.
    PodId, check_id
}
name! {
    /// A pod's name: a DNS subdomain (RFC 1123), at most 253 characters.
    PodName, check_subdomain
}
name! {
    /// A pod's namespace: a DNS label (RFC 1123), at most 63 characters.
    Namespace, check_label
}
name! {
    /// A container's name: a DNS label (RFC 1123), at most 63 characters, unique in its pod.
    ContainerName, check_label
}
name! {
    /// A volume's name: a DNS label (RFC 1123), at most 63 characters, unique in its pod.
    VolumeName, check_label
}
name! {
    /// One start of a container: 64 lower-case hexadecimal digits, new with each start.
    ContainerId, check_container_id
}

fn check_length(value: &str, limit: usize) -> Result<(), InvalidName> {
    if value.is_empty() {
        return Err(InvalidName::Empty);
    }
    if value.len() > limit {
        return Err(InvalidName::TooLong {
            limit,
            length: value.len(),
        });
    }
    Ok(())
}

fn is_label(value: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = value.as_bytes();
    !bytes.is_empty()
        && bytes.iter().all(|&byte| inner(byte) || byte == b'-')
        && inner(bytes[0])
        && inner(bytes[bytes.len() - 1])
}

fn check_label(value: &str) -> Result<(), InvalidName> {
    check_length(value, 63)?;
    if is_label(value) {
        return Ok(());
    }
    Err(InvalidName::Characters {
        value: value.to_owned(),
        rule: LABEL_RULE,
    })
}

fn check_subdomain(value: &str) -> Result<(), InvalidName> {
    check_length(value, 253)?;
    if value.split('.').all(is_label) {
        return Ok(());
    }
    Err(InvalidName::Characters {
        value: value.to_owned(),
        rule: SUBDOMAIN_RULE,
    })
}

fn check_id(value: &str) -> Result<(), InvalidName> {
    check_length(value, 63)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    // A leading dot would allow "." and "..", and hidden directories.
    if value.bytes().all(fits) && !value.starts_with('.') {
        return Ok(());
    }
    Err(InvalidName::Characters {
        value: value.to_owned(),
        rule: ID_RULE,
    })
}

fn check_container_id(value: &str) -> Result<(), InvalidName> {
    check_length(value, 64)?;
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if value.len() == 64 && value.bytes().all(digit) {
        return Ok(());
    }
    Err(InvalidName::Characters {
        value: value.to_owned(),
        rule: CONTAINER_ID_RULE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_safe_path_component() {
        for good in ["a", "0f9c1b7e-92a1-4b0e-9c4d-1d9d9a7b3a55", "Static.pod_1", "-x"] {
            assert!(PodId::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "a b",
            "ä",
            "a\0",
            &"x".repeat(64),
        ] {
            assert!(PodId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn labels_and_subdomains_follow_rfc_1123() {
        assert!(ContainerName::new("web-1").is_ok());
        assert!(ContainerName::new("1").is_ok());
        for bad in ["Web", "-a", "a-", "a.b", "a_b", ""] {
            assert!(ContainerName::new(bad).is_err(), "{bad:?}");
        }
        assert!(PodName::new("a.b-c.d").is_ok());
        for bad in ["a..b", ".a", "a.", "a.-b"] {
            assert!(PodName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn container_ids_are_64_digits() {
        assert!(ContainerId::new("0".repeat(64)).is_ok());
        assert!(ContainerId::new("0".repeat(63)).is_err());
        assert!(ContainerId::new("A".repeat(64)).is_err());
    }

    #[test]
    fn messages_say_what_to_do() {
        let reason = ContainerName::new("Web").unwrap_err().to_string();
        assert!(
            reason.starts_with("\"Web\" must consist of lower-case letters"),
            "{reason}"
        );
    }
}
