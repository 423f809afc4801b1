//! Content digests, `sha256:<hex>` or `sha512:<hex>` (OCI image specification, "Digests").

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A checked digest: its algorithm is known and its length is right.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    text: String,
}

/// Text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest {text:?}")]
pub struct InvalidDigest {
    text: String,
}

/// Computes a digest by the algorithm of another.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Digest {
    /// The SHA-256 of some bytes.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        hasher.finish()
    }

    /// `algorithm:hex`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The hexadecimal part.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.text.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// As a file name: `algorithm-hex`.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.text.replace(':', "-")
    }

    pub(crate) fn hasher(&self) -> Hasher {
        if self.text.starts_with("sha512:") {
            Hasher::Sha512(sha2::Sha512::new())
        } else {
            Hasher::sha256()
        }
    }

    /// The digest of `bytes` by this digest's algorithm.
    pub(crate) fn of(&self, bytes: &[u8]) -> Digest {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl Hasher {
    pub(crate) fn sha256() -> Hasher {
        Hasher::Sha256(sha2::Sha256::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Hasher::Sha256(hasher) => text("sha256:", &hasher.finalize()),
            Hasher::Sha512(hasher) => text("sha512:", &hasher.finalize()),
        }
    }
}

fn text(prefix: &str, bytes: &[u8]) -> Digest {
    let mut text = String::with_capacity(prefix.len() + 2 * bytes.len());
    text.push_str(prefix);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Digest { text }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Digest, InvalidDigest> {
        let length = match text.split_once(':') {
            Some(("sha256", _)) => 64,
            Some(("sha512", _)) => 128,
            _ => 0,
        };
        let hex = text.split_once(':').map_or("", |(_, hex)| hex);
        let lower_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if length == 0 || hex.len() != length || !lower_hex {
            return Err(InvalidDigest {
                text: text.chars().take(160).collect(),
            });
        }
        Ok(Digest {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Digest, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn sha256_of_nothing_is_the_well_known_one() {
        assert_eq!(Digest::sha256(b"").as_str(), EMPTY);
        assert_eq!(
            EMPTY.parse::<Digest>().unwrap().file_name(),
            EMPTY.replace(':', "-")
        );
    }

    #[test]
    fn only_known_algorithms_of_the_right_length_in_lower_case_are_digests() {
        for bad in [
            "",
            "sha256:",
            "sha256:00",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &EMPTY.to_uppercase(),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        let traversal = format!("sha256:{}", "../".repeat(22).chars().take(64).collect::<String>());
        assert!(traversal.parse::<Digest>().is_err());
        assert!(format!("sha512:{}", "0".repeat(128)).parse::<Digest>().is_ok());
    }
}
