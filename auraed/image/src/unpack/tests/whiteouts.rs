//! Deletions, and what is only implied.

use super::*;

#[test]
fn whiteouts_become_devices_and_opaque_directories_attributes() {
    let bench = unpacked(
        Tar::default()
            .file("etc/.wh.gone", "")
            .directory("var", 0o755)
            .file("var/.wh..wh..opq", "")
            .file("var/new", "x")
            .file("both", "stays")
            .file(".wh.both", "")
            .file(".wh.replaced", "")
            .directory("replaced", 0o755)
            .file(".wh.remade", "")
            .file("remade/inside", "x")
            .file(".wh..wh.plnk/1.2", "aufs"),
    );
    let gone = fs_err::symlink_metadata(bench.path("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for opaque in ["var", "replaced", "remade"] {
        assert_eq!(
            attribute(&bench.path(opaque), OPAQUE_ATTRIBUTE).as_deref(),
            Some(&b"y"[..]),
            "{opaque}"
        );
    }
    assert_eq!(fs_err::read_to_string(bench.path("both")).unwrap(), "stays");
    assert_eq!(attribute(&bench.path("etc"), OPAQUE_ATTRIBUTE), None);
    assert!(!bench.path(".wh..wh.plnk").exists());
}

#[test]
fn directories_without_an_entry_are_told() {
    let bench = Bench::new();
    let tar = Tar::default()
        .file("a/b/c", "x")
        .directory("a", 0o750)
        .file("d/e", "x")
        .symlink("f", "d")
        .file("f/g/h", "x");
    let unpacked = bench.unpack(&tar.end()).unwrap();
    let mut implied: Vec<_> = unpacked
        .implied
        .iter()
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .collect();
    implied.sort();
    assert_eq!(implied, ["", "a/b", "d"]);
    assert_eq!(fs_err::metadata(bench.path("a")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(
        fs_err::metadata(bench.path("a/b")).unwrap().mode() & 0o7777,
        0o755
    );
    assert!(bench.path("d/g/h").exists());

    let with_root = Bench::new()
        .unpack(&Tar::default().directory("./", 0o755).end())
        .unwrap();
    assert!(with_root.implied.is_empty());

    // What is deleted and made again is not what it was.
    let remade = Bench::new().unpack(
        &Tar::default()
            .file(".wh.a", "")
            .file("a/x", "")
            .file("b/x", "")
            .file(".wh.b", "")
            .file("c/.wh.x", "")
            .end(),
    );
    let remade = remade.unwrap();
    assert_eq!(remade.implied, HashSet::from([Vec::new(), b"c".to_vec()]));
    assert_eq!(remade.deleted_in, HashSet::from([Vec::new(), b"c".to_vec()]));
    assert!(remade.opaque);
}

#[test]
fn whiteouts_of_nothing_sensible_are_refused() {
    for path in [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh.a/b"] {
        Bench::new().refused(Tar::default().file(path, ""), "");
    }
}

#[test]
fn a_device_that_overlayfs_takes_for_a_whiteout_is_one() {
    let device: fn(&mut tar::Header) = |header| {
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
    };
    let bench = Bench::new();
    let tar = Tar::default()
        .directory("etc", 0o755)
        .raw(b'3', b"etc/gone", b"", 0o666, b"", device);
    let unpacked = bench.unpack(&tar.end()).unwrap();
    assert_eq!(unpacked.deleted_in, HashSet::from([b"etc".to_vec()]));
    let gone = fs_err::symlink_metadata(bench.path("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
}
