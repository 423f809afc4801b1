//! Image references: `[registry/]repository[:tag][@digest]`, normalized as docker does.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// A parsed reference. Without a registry it is on `docker.io`, there without a namespace in `library/`, and without a
/// tag or digest it has the tag `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Text that is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image name {text:?}: {reason}")]
pub struct InvalidReference {
    text: String,
    reason: &'static str,
}

impl Reference {
    /// `docker.io`, `registry.example:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// `library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if it has one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if it has one.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `registry/repository`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Reference, InvalidReference> {
        parse(text).map_err(|reason| InvalidReference {
            text: text.chars().take(300).collect(),
            reason,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

const FORMAT: &str = "invalid reference format";

/// The grammar of the distribution project's reference package, with docker's defaults.
fn parse(text: &str) -> Result<Reference, &'static str> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(digest.parse::<Digest>().map_err(|_| "invalid digest")?),
        ),
        None => (text, None),
    };
    // A colon after the last slash begins a tag; one before it, a port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if name.is_empty() {
        return Err("repository name must have at least one component");
    }
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("invalid tag format");
    }
    let (registry, repository) = split_registry(name);
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("repository name must be lowercase");
    }
    if !is_host(registry) || !repository.split('/').all(is_path_component) {
        return Err(FORMAT);
    }
    let registry = if registry == "index.docker.io" {
        DOCKER
    } else {
        registry
    };
    let official = registry == DOCKER && !repository.contains('/');
    let repository = if official {
        format!("library/{repository}")
    } else {
        repository.to_owned()
    };
    // Of the whole name: what is taken is taken again in the form that it is written in.
    if repository.len() > 255 {
        return Err("repository name must not be more than 255 characters");
    }
    let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
    Ok(Reference {
        registry: registry.to_owned(),
        repository,
        tag: tag.map(str::to_owned),
        digest,
    })
}

const DOCKER: &str = "docker.io";

/// The first component is a registry only if it looks like a host: a dot, a colon, a capital letter, or `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, rest))
            if host.contains(['.', ':'])
                || host == "localhost"
                || host.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (host, rest)
        }
        _ => (DOCKER, name),
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// A domain name, an IPv4 address or an IPv6 address in brackets, with an optional port.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
            match rest.strip_prefix(':') {
                Some(port) => ("ipv6", Some(port)),
                None if rest.is_empty() => ("ipv6", None),
                None => return false,
            }
        }
        Some(_) => return false,
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Runs of lower-case letters and digits, between them `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let letter = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let separators: Vec<&str> = component.split(letter).collect();
    let legal = |separator: &&str| {
        matches!(*separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    };
    !component.is_empty()
        && component.starts_with(letter)
        && component.ends_with(letter)
        && separators.iter().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONES: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

    fn whole(text: &str) -> String {
        text.parse::<Reference>().unwrap().to_string()
    }

    #[test]
    fn defaults_are_dockers() {
        for (text, expected) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("me/app", "docker.io/me/app:latest"),
            ("index.docker.io/me/app", "docker.io/me/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("test:5000/repo", "test:5000/repo:latest"),
            ("test.com:5000", "docker.io/library/test.com:5000"),
            ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            (
                "registry.k8s.io/e2e-test-images/agnhost:2.66.1",
                "registry.k8s.io/e2e-test-images/agnhost:2.66.1",
            ),
            ("a__b/c--d.e_f:X", "docker.io/a__b/c--d.e_f:X"),
        ] {
            assert_eq!(whole(text), expected);
        }
    }

    #[test]
    fn a_digest_replaces_the_default_tag_but_not_a_given_one() {
        assert_eq!(
            whole(&format!("busybox@{ONES}")),
            format!("docker.io/library/busybox@{ONES}")
        );
        assert_eq!(
            whole(&format!("busybox:1@{ONES}")),
            format!("docker.io/library/busybox:1@{ONES}")
        );
    }

    #[test]
    fn what_is_no_reference_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "at least one component"),
            (":tag", "at least one component"),
            ("busybox:", "tag"),
            ("busybox:-x", "tag"),
            ("Busybox", "lowercase"),
            ("a//b", "format"),
            ("a/../b", "format"),
            ("a/.b", "format"),
            ("a___b", "format"),
            ("a b", "format"),
            ("https://example.com/a", "format"),
            ("-a.b/c", "format"),
            ("host:99999/a", "format"),
            ("[::zz]:1/a", "format"),
            ("busybox@sha256:12", "digest"),
            ("busybox@md5:d41d8cd98f00b204e9800998ecf8427e", "digest"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let long = format!("a/{}", "b".repeat(300));
        assert!(long.parse::<Reference>().unwrap_err().to_string().contains("255"));
        // The namespace that docker.io's own images are in counts as well.
        assert!("b".repeat(248).parse::<Reference>().is_err());
        assert!("b".repeat(247).parse::<Reference>().is_ok());
    }
}
