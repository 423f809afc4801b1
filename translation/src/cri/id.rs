//! Ids: what the caller names makes them, so that a call made twice means the same thing, and nobody has to remember.

use std::fmt::Write as _;

use cri_api::v1 as cri;
use sha2::{Digest, Sha256};

/// The length of a whole id; what is shorter is the beginning of one.
pub const LENGTH: usize = 64;

/// Whether it is a whole id of ours, and not the beginning of one.
#[must_use]
pub fn is_whole(id: &str) -> bool {
    id.len() == LENGTH && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A sandbox's id.
#[must_use]
pub fn sandbox(metadata: &cri::PodSandboxMetadata) -> String {
    digest(&[
        "sandbox",
        &metadata.name,
        &metadata.namespace,
        &metadata.uid,
        &metadata.attempt.to_string(),
    ])
}

/// A container's id.
#[must_use]
pub fn container(sandbox: &str, metadata: &cri::ContainerMetadata) -> String {
    digest(&[
        "container",
        sandbox,
        &metadata.name,
        &metadata.attempt.to_string(),
    ])
}

fn digest(parts: &[&str]) -> String {
    let mut text = String::with_capacity(LENGTH);
    for byte in Sha256::digest(parts.join("\0")) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_they_were() {
        let pod = cri::PodSandboxMetadata {
            name: "web".into(),
            uid: "6f2b".into(),
            namespace: "default".into(),
            attempt: 1,
        };
        let sandbox = sandbox(&pod);
        // Whoever changes this makes every running sandbox a stranger to the shim that follows.
        assert_eq!(
            sandbox,
            "716a8dd185d5b90e0548e2b6d8ced46ab9a46c75e0e55525b805181fc79fff24"
        );
        assert!(is_whole(&sandbox));
        let main = cri::ContainerMetadata {
            name: "main".into(),
            attempt: 0,
        };
        let first = container(&sandbox, &main);
        let again = container(&sandbox, &cri::ContainerMetadata { attempt: 1, ..main });
        assert!(is_whole(&first) && first != again);
    }

    #[test]
    fn parts_do_not_run_together() {
        let of = |name: &str, namespace: &str| {
            sandbox(&cri::PodSandboxMetadata {
                name: name.into(),
                namespace: namespace.into(),
                ..Default::default()
            })
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
    }
}
