//! Entries that take the place of others of their layer.

use super::*;

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let bench = unpacked(
        Tar::default()
            .file("a/b/c", "deep")
            .symlink("a", "elsewhere")
            .file("b", "file")
            .directory("b", 0o700)
            .directory("c", 0o755)
            .file("c/kept", "x")
            .directory("c", 0o711)
            .file("d", "one")
            .hard_link("e", "d")
            .file("d", "two")
            .hard_link("d", "d"),
    );
    assert!(bench.path("a").is_symlink());
    assert!(bench.path("b").is_dir());
    assert_eq!(fs_err::metadata(bench.path("c")).unwrap().mode() & 0o7777, 0o711);
    assert!(bench.path("c/kept").exists());
    assert_eq!(fs_err::read_to_string(bench.path("d")).unwrap(), "two");
    assert_eq!(fs_err::read_to_string(bench.path("e")).unwrap(), "one");
}

#[test]
fn a_link_that_is_replaced_leads_to_its_new_target() {
    let bench = unpacked(
        Tar::default()
            .directory("one", 0o755)
            .directory("two", 0o755)
            .symlink("link", "one")
            .file("link/a", "x")
            .symlink("link", "two")
            .file("link/b", "x"),
    );
    assert!(bench.path("one/a").exists() && bench.path("two/b").exists());
}

#[test]
fn what_is_said_last_of_a_directory_counts() {
    let bench = unpacked(
        Tar::default()
            .raw(b'5', b"a", b"", 0o700, b"", |header| header.set_mtime(5))
            .file("a/file", "x")
            .directory("a", 0o750),
    );
    let a = fs_err::metadata(bench.path("a")).unwrap();
    assert_eq!((a.mode() & 0o7777, a.mtime()), (0o750, 1_000_000_000));
}
