//! The sources: their length, their first line, their names, and where `unsafe` may be.

use std::path::{Path, PathBuf};

use super::{read, root, shown};

/// Lines of a file; longer ones hold more than one thought.
const LENGTH: usize = 600;
/// Lines of a file of tests, which is one case after the other.
const TEST_LENGTH: usize = 900;
/// Longer files: since when, and what keeps them together.
const LONGER: &[(&str, &str, &str)] = &[];
/// Written by programs, or fetched.
const SKIPPED: &[&str] = &["target", "generated", ".git", ".cargo", "node_modules"];
/// The files that may hold `unsafe`: the seam to the kernel.
const UNSAFE: &[&str] = &["auraed/sandbox/src", "auraed/pod-init/src"];

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&root(), &mut found);
    assert!(found.len() > 50, "{} sources", found.len());
    found.sort();
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if entry.file_type().unwrap().is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Tests beside the code, and what they need.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/src/") && path.contains("/tests/")
}

#[test]
fn files_are_short() {
    for path in sources() {
        let (lines, path) = (read(&path).lines().count(), shown(&path));
        let most = if is_test(&path) || path.contains("/tests/") {
            TEST_LENGTH
        } else {
            LENGTH
        };
        match LONGER.iter().find(|(name, ..)| *name == path) {
            None => assert!(
                lines <= most,
                "{path} has {lines} lines, more than {most}: split it by thought"
            ),
            Some((_, since, _)) => {
                assert!(
                    lines > most,
                    "{path} (since {since}) has {lines} lines now: take it off the list in {}",
                    file!()
                );
            }
        }
    }
}

#[test]
fn modules_say_what_they_are() {
    for path in sources() {
        let shown = shown(&path);
        assert!(
            is_test(&shown) || read(&path).starts_with("//! "),
            "{shown} must open with `//!`: what it owns, who calls it, what happens on failure"
        );
    }
}

#[test]
fn no_module_is_called_mod() {
    for path in sources() {
        assert!(
            path.file_name().is_none_or(|name| name != "mod.rs"),
            "{}: foo.rs beside foo/ instead",
            shown(&path)
        );
    }
}

/// The lint denies it everywhere; these are the files that may lift the lint.
#[test]
fn unsafe_is_at_the_kernels_seam() {
    let lint = ["unsafe", "_code"].concat();
    for path in sources() {
        let shown = shown(&path);
        if read(&path).contains(&lint) {
            let seam =
                UNSAFE.iter().any(|directory| shown.starts_with(directory)) && shown.ends_with("/sys.rs");
            assert!(
                seam,
                "{shown} must not lift the lint {lint}: only sys.rs of {UNSAFE:?} may"
            );
        }
    }
}

/// Where a cgroup hierarchy is, only its owner knows.
#[test]
fn cgroup_paths_are_the_sandboxs() {
    let place = ["/sys/fs/", "cgroup"].concat();
    for path in sources() {
        let shown = shown(&path);
        let above = [
            "auraed/src",
            "auraed/types",
            "kubelet-bridge",
            "translation",
            "auraed/cli",
            "auraed/client",
        ];
        let names = above.iter().any(|above| shown.starts_with(above)) && read(&path).contains(&place);
        assert!(!names, "{shown} names {place}: that is auraed/sandbox's");
    }
}
