//! Hard links within a layer, out of it, and to what lower layers have.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use super::*;

#[test]
fn hard_links_stay_in_the_root() {
    for (target, reason) in [
        ("../../etc/passwd", "leads out"),
        ("../outside", "leads out"),
        ("a", "is a directory"),
        ("", "is a directory"),
        ("gone", "deleted"),
        ("gone/below", "not a directory"),
        ("link/etc/passwd", "leads out"),
    ] {
        let tar = Tar::default()
            .directory("a", 0o755)
            .file(".wh.gone", "")
            .symlink("link", "/")
            .hard_link("x", target);
        Bench::new().refused(tar, reason);
    }
    // Linking to a symlink links the symlink itself, wherever it points.
    let bench = unpacked(
        Tar::default()
            .symlink("shadow", "/etc/shadow")
            .hard_link("x", "shadow"),
    );
    assert!(bench.path("x").is_symlink());
}

/// The links that are left for the image, as text.
fn links(unpacked: &Unpacked) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let links = unpacked.links.iter();
    links.map(|(path, target)| (text(path), text(target))).collect()
}

fn expect(unpacked: &Unpacked, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(path, target)| ((*path).to_owned(), (*target).to_owned()))
        .collect();
    assert_eq!(links(unpacked), expected);
}

#[test]
fn a_link_to_what_is_not_here_hides_its_place_and_is_left_for_the_image() {
    let bench = Bench::new();
    let tar = Tar::default()
        .directory("bin", 0o755)
        .hard_link("bin/ls", "/bin/busybox")
        .hard_link("./bin/cat", "bin/ls")
        .hard_link("new/deep", "usr/lib/file")
        .hard_link("passwd", "/etc/passwd");
    let unpacked = bench.unpack(&tar.end()).unwrap();
    expect(
        &unpacked,
        &[
            ("bin/cat", "bin/busybox"),
            ("bin/ls", "bin/busybox"),
            ("new/deep", "usr/lib/file"),
            ("passwd", "etc/passwd"),
        ],
    );
    for path in ["bin/ls", "bin/cat", "new/deep", "passwd"] {
        let metadata = fs_err::symlink_metadata(bench.path(path)).unwrap();
        assert!(
            metadata.file_type().is_char_device() && metadata.rdev() == 0,
            "{path}"
        );
    }
    assert!(!bench.path("usr").exists());
}

#[test]
fn what_comes_later_takes_the_place_of_such_a_link() {
    let bench = Bench::new();
    let tar = Tar::default()
        .hard_link("a", "below")
        .file("a", "here")
        .hard_link("b", "below")
        .directory("b", 0o755)
        .hard_link("c", "below")
        .hard_link("c", "lower")
        .file("d", "here")
        .hard_link("d", "below")
        .hard_link("e", "a");
    let unpacked = bench.unpack(&tar.end()).unwrap();
    expect(&unpacked, &[("c", "lower"), ("d", "below")]);
    assert_eq!(fs_err::read_to_string(bench.path("e")).unwrap(), "here");
    // It hid what was below, so the directory does as well.
    assert!(attribute(&bench.path("b"), OPAQUE_ATTRIBUTE).is_some());
}

#[test]
fn a_link_over_a_symlink_of_the_layer_is_refused() {
    let tar = Tar::default()
        .directory("real", 0o755)
        .symlink("way", "real")
        .hard_link("way/x", "below");
    Bench::new().refused(tar, "a symlink leads to the place");
}
