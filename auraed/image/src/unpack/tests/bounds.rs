//! More than a layer may have, and less than it must.

use super::*;

#[test]
fn entries_beyond_bounds_are_refused() {
    let long = "a/".repeat(2100);
    Bench::new().refused(
        Tar::default().raw(b'0', long.as_bytes(), b"", 0o644, b"", |_| {}),
        "longer than 4095",
    );
    Bench::new().refused(
        Tar::default().raw(b'2', b"l", long.as_bytes(), 0o644, b"", |_| {}),
        "longer than 4095",
    );
    Bench::new().refused(
        Tar::default().raw(b'0', "n".repeat(256).as_bytes(), b"", 0o644, b"", |_| {}),
        "255 bytes",
    );
    Bench::new().refused(
        Tar::default().raw(b'L', b"l", b"", 0, &[b'a'; 5000], |_| {}),
        "longer than 4096",
    );
    let huge: fn(&mut tar::Header) = |header| header.set_size(1 << 40);
    Bench::new().refused(
        Tar::default().raw(b'x', b"p", b"", 0, b"", huge),
        "longer than 1048576",
    );
    Bench::new().refused(
        Tar::default().raw(b'L', b"l", b"", 0, b"", huge),
        "longer than 4096",
    );
    Bench::new().refused(
        Tar::default()
            .raw(b'0', b"a\0b", b"", 0o644, b"", |_| {})
            .pax(&[("path", b"a\0b")])
            .file("x", ""),
        "NUL",
    );
    Bench::new().refused(
        Tar::default().raw(b'Z', b"odd", b"", 0o644, b"", |_| {}),
        "not supported",
    );
    Bench::new().refused(
        Tar::default().pax(&[("uid", b"4294967295")]).file("x", ""),
        "32 bits",
    );
    Bench::new().refused(Tar::default().file("./", "").symlink(".", "x"), "root");
    let deep = unpacked(Tar::default().raw(b'0', "d/".repeat(2000).as_bytes(), b"", 0o755, b"", |_| {}));
    crate::layer::remove_tree(&deep.path("d")).unwrap();
}

#[test]
fn damage_is_corruption() {
    let whole = Tar::default().file("a", &"x".repeat(2000)).file("b", "y").end();
    for cut in [100, 600, 1500, 2700] {
        let error = Bench::new().unpack(&whole[..cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{cut}: {error}");
    }
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    assert_eq!(
        Bench::new().unpack(&flipped).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    // Cut between entries it is a shorter archive; the digests tell.
    assert!(Bench::new().unpack(&whole[..2560]).is_ok());
}

#[test]
fn devices_that_there_are_not_are_refused() {
    for (kind, edit) in [
        (
            b'3',
            (|header| header.set_device_major(0x1000).unwrap()) as fn(&mut tar::Header),
        ),
        (b'4', |header| header.set_device_minor(0x10_0000).unwrap()),
    ] {
        Bench::new().refused(
            Tar::default().raw(kind, b"d", b"", 0o600, b"", edit),
            "no devices",
        );
    }
}

#[test]
fn what_is_remembered_is_bounded_however_short_it_is() {
    let bench = Bench::new();
    let mut unpacker = Unpacker::new(bench.open("root"), bench.open("replaced"));
    let remembered = (0..limit::ENTRIES).find(|_| unpacker.remember(1, b"a").is_err());
    assert!(remembered.is_some());
}
