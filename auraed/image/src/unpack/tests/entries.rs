//! What an entry is made to be.

use super::*;

#[test]
fn an_entry_has_its_owner_mode_time_and_content() {
    let bench = unpacked(
        Tar::default()
            .directory("bin", 0o1777)
            .raw(b'0', b"bin/su", b"", 0o6755, b"program", |_| {})
            .symlink("bin/link", "/absolute/../target")
            .pax(&[("mtime", b"7.25"), ("uid", b"3000000000")])
            .file("bin/late", ""),
    );
    let su = fs_err::metadata(bench.path("bin/su")).unwrap();
    assert_eq!(
        (su.uid(), su.gid(), su.mode() & 0o7777, su.mtime(), su.len()),
        (1000, 2000, 0o6755, 1_000_000_000, 7)
    );
    let bin = fs_err::metadata(bench.path("bin")).unwrap();
    assert_eq!((bin.mode() & 0o7777, bin.mtime()), (0o1777, 1_000_000_000));
    assert_eq!(
        fs_err::read_link(bench.path("bin/link")).unwrap(),
        Path::new("/absolute/../target")
    );
    assert_eq!(
        fs_err::symlink_metadata(bench.path("bin/link")).unwrap().uid(),
        1000
    );
    let late = fs_err::metadata(bench.path("bin/late")).unwrap();
    assert_eq!(
        (late.uid(), late.mtime(), late.mtime_nsec()),
        (3_000_000_000, 7, 250_000_000)
    );
}

#[test]
fn links_devices_and_fifos_are_made() {
    let device: fn(&mut tar::Header) = |header| {
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
    };
    let bench = unpacked(
        Tar::default()
            .file("a", "x")
            .hard_link("b", "a")
            .hard_link("./c", "/a")
            .symlink("s", "a")
            .hard_link("t", "s")
            .raw(b'3', b"null", b"", 0o666, b"", device)
            .raw(b'4', b"disk", b"", 0o660, b"", device)
            .raw(b'6', b"fifo", b"", 0o600, b"", |_| {}),
    );
    assert_eq!(fs_err::metadata(bench.path("a")).unwrap().nlink(), 3);
    assert_eq!(fs_err::symlink_metadata(bench.path("t")).unwrap().nlink(), 2);
    let null = fs_err::metadata(bench.path("null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!(
        (null.rdev(), null.mode() & 0o7777),
        (rustix::fs::makedev(1, 3), 0o666)
    );
    assert!(
        fs_err::metadata(bench.path("disk"))
            .unwrap()
            .file_type()
            .is_block_device()
    );
    assert!(
        fs_err::metadata(bench.path("fifo"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
}

#[test]
fn attributes_are_set_but_for_those_of_overlayfs() {
    // CAP_DAC_OVERRIDE and CAP_FOWNER: 0x0a, a newline.
    let capability = [1, 0, 0, 2, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let bench = unpacked(
        Tar::default()
            .pax(&[
                ("SCHILY.xattr.security.capability", &capability),
                ("SCHILY.xattr.user.note", b"a\nb"),
                ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ])
            .file("ping", "x"),
    );
    let path = bench.path("ping");
    assert_eq!(
        attribute(&path, "security.capability").as_deref(),
        Some(&capability[..])
    );
    assert_eq!(attribute(&path, "user.note").as_deref(), Some(&b"a\nb"[..]));
    assert_eq!(attribute(&path, "trusted.overlay.redirect"), None);
}

#[test]
fn what_is_no_file_has_no_content() {
    let size: fn(&mut tar::Header) = |header| header.set_size(512);
    let bench = unpacked(
        Tar::default()
            .file("a", "x")
            .raw(b'1', b"b", b"a", 0o644, b"", size)
            .file("c", "y"),
    );
    assert!(bench.path("c").exists());
    let large =
        unpacked(
            Tar::default()
                .pax(&[("size", b"3")])
                .raw(b'0', b"d", b"", 0o644, b"xyz", |header| header.set_size(0)),
        );
    assert_eq!(fs_err::read_to_string(large.path("d")).unwrap(), "xyz");
}

#[test]
fn a_directory_that_is_called_a_file_has_the_content_of_one() {
    // Before ustar a directory had none, and its size meant nothing.
    let size: fn(&mut tar::Header) = |header| header.set_size(512);
    let bench = unpacked(
        Tar::default()
            .raw(b'0', b"a/", b"", 0o755, b"content", |_| {})
            .raw(0, b"b/", b"", 0o755, b"", size)
            .file("c", "y"),
    );
    assert!(bench.path("a").is_dir() && bench.path("b").is_dir() && bench.path("c").is_file());
}

#[test]
fn what_is_made_in_a_directory_does_not_inherit_its_default_acl() {
    // Version 2; rwx for the owner, uid 1000, the group and the mask, nothing for others: posix_acl_xattr.h of Linux.
    let mut acl = 2_u32.to_le_bytes().to_vec();
    let anybody = u32::MAX;
    for (tag, id) in [
        (1_u16, anybody),
        (2, 1000),
        (4, anybody),
        (16, anybody),
        (32, anybody),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(if tag == 32 { 0_u16 } else { 7 }.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let default = "SCHILY.xattr.system.posix_acl_default";
    let bench = unpacked(
        Tar::default()
            .pax(&[(default, &acl)])
            .directory("a", 0o755)
            .file("a/file", "x")
            .directory("a/below", 0o711)
            // It means nothing for what is no directory.
            .pax(&[(default, &acl)])
            .file("file", "x"),
    );
    // A file system without them is taken as it is.
    if let Some(set) = attribute(&bench.path("a"), "system.posix_acl_default") {
        assert_eq!(set, acl);
    }
    for path in ["a/file", "a/below"] {
        for attributes in ["system.posix_acl_access", "system.posix_acl_default"] {
            assert_eq!(attribute(&bench.path(path), attributes), None, "{path}");
        }
    }
    let mode = |path| fs_err::metadata(bench.path(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("a/file"), mode("a/below")), (0o644, 0o711));
}
