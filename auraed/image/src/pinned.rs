//! Images that who tidies up is to leave alone.

use crate::{Image, InvalidReference, Reference};

/// Patterns of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pinned {
    patterns: Vec<String>,
    names: Vec<String>,
    prefixes: Vec<String>,
}

impl Pinned {
    /// A pattern is a reference, or the beginning of one with `*` behind it. A reference may be as short as the command
    /// line takes it; a beginning is one of whole names as they are listed: `docker.io/library/busybox:*`.
    ///
    /// # Errors
    /// The first pattern that is neither.
    pub fn parse<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Pinned, InvalidReference> {
        let mut pinned = Pinned::default();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            pinned.patterns.push(pattern.to_owned());
            match pattern.strip_suffix('*') {
                Some(prefix) if !prefix.contains('*') => pinned.prefixes.push(prefix.to_owned()),
                _ => pinned.names.push(name(&pattern.parse()?)),
            }
        }
        Ok(pinned)
    }

    /// The patterns as they were given.
    #[must_use]
    pub fn patterns(&self) -> Vec<String> {
        self.patterns.clone()
    }

    /// Whether one of an image's names is among them.
    #[must_use]
    pub fn has(&self, image: &Image) -> bool {
        image.tags.iter().chain(&image.digests).any(|name| {
            self.names.contains(name)
                || self
                    .prefixes
                    .iter()
                    .any(|prefix| name.starts_with(prefix.as_str()))
        })
    }
}

/// As images have it among their tags or digests: with one of both.
fn name(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{}@{digest}", reference.name()),
        (None, tag) => format!("{}:{}", reference.name(), tag.unwrap_or("latest")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_beginnings_of_names_pin() {
        let golden: Image = serde_json::from_str(include_str!("image/golden.json")).unwrap();
        let digest = format!("busybox@sha256:{}", "2".repeat(64));
        for (pattern, pins) in [
            ("busybox", true),
            ("busybox:latest", true),
            ("index.docker.io/library/busybox:latest", true),
            (&digest, true),
            ("docker.io/library/busybox*", true),
            ("docker.io/*", true),
            ("*", true),
            ("busybox:1", false),
            ("busybox*", false),
            ("registry.k8s.io/pause:*", false),
        ] {
            assert_eq!(Pinned::parse([pattern]).unwrap().has(&golden), pins, "{pattern}");
        }
        assert!(!Pinned::default().has(&golden));
        for bad in ["Busybox", "a*b*", "", "docker.io/*/busybox"] {
            assert!(Pinned::parse([bad]).is_err(), "{bad}");
        }
    }
}
