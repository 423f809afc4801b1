//! Layers that try to reach what is not theirs.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;

use proptest::prelude::*;

use super::*;

#[test]
fn paths_that_leave_the_layer_are_refused() {
    for path in ["../outside", "a/../../outside", "/../outside", "a/..", ".."] {
        Bench::new().refused(Tar::default().file(path, "x"), "\"..\"");
        Bench::new().refused(Tar::default().directory(path, 0o777), "\"..\"");
        Bench::new().refused(Tar::default().symlink(path, "x"), "\"..\"");
    }
    let bench = unpacked(Tar::default().file("/etc/passwd", "inside"));
    assert_eq!(
        fs_err::read_to_string(bench.path("etc/passwd")).unwrap(),
        "inside"
    );
}

#[test]
fn symlinks_that_leave_the_layer_are_not_followed() {
    for target in ["/", "/tmp", "..", "../..", "a/../../.."] {
        let tar = || Tar::default().directory("a", 0o755).symlink("link", target);
        for hostile in [
            tar().file("link/outside", "x"),
            tar().directory("link/outside", 0o777),
            tar().hard_link("link/outside", "a"),
            tar().file("link/.wh.outside", ""),
            tar().file("link/.wh..wh..opq", ""),
            tar().symlink("link/outside", "x"),
        ] {
            Bench::new().refused(hostile, "leads out");
        }
    }
    let inside = unpacked(
        Tar::default()
            .directory("usr/lib", 0o755)
            .symlink("lib", "usr/lib")
            .file("lib/x", "x"),
    );
    assert!(inside.path("usr/lib/x").exists());
    Bench::new().refused(
        Tar::default().symlink("a", "b").symlink("b", "a").file("a/x", ""),
        "too many links",
    );
    Bench::new().refused(
        Tar::default().symlink("a", "nowhere").file("a/x", ""),
        "not a directory",
    );
    Bench::new().refused(Tar::default().file("a", "").file("a/x", ""), "not a directory");
}

#[test]
fn a_directory_turned_symlink_does_not_lend_its_time() {
    let tar = Tar::default()
        .directory("a", 0o755)
        .directory("a/b", 0o755)
        .symlink("a", "/");
    let before = fs_err::metadata("/").unwrap().mtime();
    unpacked(tar);
    assert_eq!(fs_err::metadata("/").unwrap().mtime(), before);
}

/// Everything below a directory: path to kind and content.
fn listing(directory: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(current) = todo.pop() {
        for entry in fs_err::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            let key = path
                .strip_prefix(directory)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec();
            found.insert(
                key,
                format!("{:o} {} {}", metadata.mode(), metadata.uid(), metadata.len()),
            );
            if metadata.is_dir() {
                todo.push(path);
            }
        }
    }
    found
}

fn any_path() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        4 => Just("a"), 4 => Just("b"), 2 => Just("c"), 2 => Just(".."), 1 => Just("."), 1 => Just(""),
        1 => Just(".wh.a"), 1 => Just(".wh..wh..opq"), 1 => Just(".wh.."), 1 => Just("outside"),
    ];
    proptest::collection::vec(component, 0..5).prop_map(|components| components.join("/"))
}

fn any_target() -> impl Strategy<Value = String> {
    prop_oneof![4 => any_path(), 1 => Just("/".to_owned()), 1 => Just("../..".to_owned()), 1 => any_path().prop_map(|path| format!("/{path}"))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the entries are, nothing but the root changes, and nothing in it that a refused layer left leads out.
    #[test]
    fn no_layer_touches_anything_outside_its_root(
        entries in proptest::collection::vec((0..7_usize, any_path(), any_target(), 0..0o10000_u32), 1..12)
    ) {
        let bench = Bench::new();
        let victim = tempfile::tempdir().unwrap();
        fs_err::write(victim.path().join("a"), "untouched").unwrap();
        let before = listing(victim.path());
        let mut tar = Tar::default().symlink("victim", victim.path().to_str().unwrap());
        for (kind, path, target, mode) in entries {
            let kind = b"0125367"[kind];
            let path = if mode & 1 == 1 { format!("victim/{path}") } else { path };
            let link = if matches!(kind, b'1' | b'2') { target } else { String::new() };
            let content: &[u8] = if kind == b'0' { b"content" } else { b"" };
            tar = tar.raw(kind, path.as_bytes(), link.as_bytes(), mode, content, |_| {});
        }
        let _ = bench.unpack(&tar.end());
        prop_assert_eq!(listing(victim.path()), before);
        for (path, _) in listing(&bench.path("")) {
            prop_assert!(!path.split(|byte| *byte == b'/').any(|component| component == b".."));
        }
    }

    /// Bytes that are no archive end in an error or in nothing, never in a panic.
    #[test]
    fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..4096), fix in any::<bool>()) {
        if fix && bytes.len() >= 512 {
            bytes[148..156].copy_from_slice(b"        ");
            let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
            bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let _ = Bench::new().unpack(&bytes);
    }
}
