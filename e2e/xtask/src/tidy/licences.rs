//! What may be built into the programs without asking a lawyer.

use super::packages;

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

#[test]
fn every_licence_is_allowed() {
    let packages = packages();
    assert!(
        packages.len() > 100,
        "cargo tree shows {} packages",
        packages.len()
    );
    for package in packages {
        let (name, licence) = (&package.name, &package.licence);
        assert!(
            is_allowed(licence),
            "{name} is under {licence:?}: not allowed, see e2e/xtask/src/tidy/licences.rs"
        );
    }
}

/// True where an SPDX expression can be met by allowed licences alone.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest).is_some_and(|allowed| allowed) && rest.is_empty()
}

fn either(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = both(words)?;
    while let Some(("OR", rest)) = words.split_first().map(|(first, rest)| (*first, rest)) {
        *words = rest;
        allowed |= both(words)?;
    }
    Some(allowed)
}

fn both(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = one(words)?;
    while let Some(("AND", rest)) = words.split_first().map(|(first, rest)| (*first, rest)) {
        *words = rest;
        allowed &= one(words)?;
    }
    Some(allowed)
}

fn one(words: &mut &[&str]) -> Option<bool> {
    match words {
        ["(", rest @ ..] => {
            *words = rest;
            let allowed = either(words)?;
            *words = words.strip_prefix(&[")"])?;
            Some(allowed)
        }
        [licence, "WITH", exception, rest @ ..] => {
            let allowed = ALLOWED.contains(&format!("{licence} WITH {exception}").as_str());
            *words = rest;
            Some(allowed)
        }
        [licence, rest @ ..] => {
            let allowed = ALLOWED.contains(licence);
            *words = rest;
            Some(allowed)
        }
        [] => None,
    }
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    for (expression, allowed) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-2.0 OR MIT", true),
        ("GPL-2.0/MIT", true),
        ("MIT AND GPL-2.0", false),
        ("(MIT OR GPL-2.0) AND BSD-3-Clause", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("MIT AND (GPL-2.0 OR", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression), allowed, "{expression}");
    }
}
