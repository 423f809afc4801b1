//! Files with holes, in each form that there is.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use super::*;

const MIB: u64 = 1024 * 1024;

/// A header of GNU's old form: four parts at most.
fn old(path: &str, parts: &[(u64, u64)], whole: u64, more: bool, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(1000);
    header.set_gid(2000);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    let fields = header.as_gnu_mut().unwrap();
    for (field, (offset, length)) in fields.sparse.iter_mut().zip(parts) {
        field.set_offset(*offset);
        field.set_length(*length);
    }
    fields.set_is_extended(more);
    fields.set_real_size(whole);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// What a file of 3 MiB with 512 bytes of `a` at 1 MiB and 100 of `b` at 2 MiB reads as.
fn expected() -> Vec<u8> {
    let mut whole = vec![0; 3 << 20];
    whole[1 << 20..][..512].fill(b'a');
    whole[2 << 20..][..100].fill(b'b');
    whole
}

fn content() -> Vec<u8> {
    [vec![b'a'; 512], vec![b'b'; 100]].concat()
}

fn is_the_file(bench: &Bench, path: &str) {
    assert_eq!(fs_err::read(bench.path(path)).unwrap(), expected(), "{path}");
    let metadata = fs_err::metadata(bench.path(path)).unwrap();
    assert!(metadata.blocks() * 512 < MIB, "{} blocks", metadata.blocks());
    assert_eq!(metadata.uid(), 1000);
}

#[test]
fn each_form_of_a_sparse_file_is_made_with_its_holes() {
    let parts = [(MIB, 512), (2 * MIB, 100)];
    let mut bytes = old("old", &parts, 3 * MIB, false, &content());
    bytes.extend(padded(content()));
    // One that has its parts in two blocks more.
    bytes.extend(old("old-long", &[], 3 * MIB, true, &content()));
    let mut block = tar::GnuExtSparseHeader::new();
    block.sparse_mut()[0].set_offset(MIB);
    block.sparse_mut()[0].set_length(512);
    block.set_is_extended(true);
    bytes.extend_from_slice(block.as_bytes());
    let mut block = tar::GnuExtSparseHeader::new();
    block.sparse_mut()[0].set_offset(2 * MIB);
    block.sparse_mut()[0].set_length(100);
    bytes.extend_from_slice(block.as_bytes());
    bytes.extend(padded(content()));

    let size = (3 * MIB).to_string();
    let (first, second) = (MIB.to_string(), (2 * MIB).to_string());
    let map = format!("{first},512,{second},100,{size},0");
    let before = padded(format!("2\n{first}\n512\n{second}\n100\n").into_bytes());
    let with_map = [before, content()].concat();
    let tar = Tar { bytes }
        .pax(&[
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.offset", first.as_bytes()),
            ("GNU.sparse.numbytes", b"512"),
            ("GNU.sparse.offset", second.as_bytes()),
            ("GNU.sparse.numbytes", b"100"),
        ])
        .raw(b'0', b"zero", b"", 0o644, &content(), |_| {})
        .pax(&[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.minor", b"1"),
            ("GNU.sparse.name", b"one"),
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.map", map.as_bytes()),
        ])
        .raw(b'0', b"GNUSparseFile.1/one", b"", 0o644, &content(), |_| {})
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"two"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ])
        .raw(b'0', b"GNUSparseFile.1/two", b"", 0o644, &with_map, |_| {})
        .file("after", "still read");
    let bench = unpacked(tar);
    for path in ["old", "old-long", "zero", "one", "two"] {
        is_the_file(&bench, path);
    }
    assert!(!bench.path("GNUSparseFile.1").exists());
    assert_eq!(fs_err::read_to_string(bench.path("after")).unwrap(), "still read");
}

#[test]
fn what_gnu_tar_writes_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let file = fs_err::File::create(&path).unwrap().into_parts().0;
    for part in 0..40_u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &[b'x'; 4096], part * MIB).unwrap();
    }
    file.set_len(50 * MIB).unwrap();
    for form in [
        &["--format=gnu"][..],
        &["--sparse-version=0.0"],
        &["--sparse-version=0.1"],
        &["--sparse-version=1.0"],
    ] {
        let archive = directory.path().join("archive");
        let format = if form[0] == "--format=gnu" {
            &[][..]
        } else {
            &["--format=posix"]
        };
        let tar = Command::new("tar")
            .args(["--create", "--sparse", "--file"])
            .arg(&archive)
            .args(format)
            .args(form)
            .arg("--directory")
            .arg(directory.path())
            .arg("file")
            .status()
            .unwrap();
        assert!(tar.success());
        let bytes = fs_err::read(&archive).unwrap();
        assert!(bytes.len() < 2 << 20, "{form:?}: tar saw no holes");
        let bench = Bench::new();
        bench.unpack(&bytes).unwrap();
        assert!(
            fs_err::read(bench.path("file")).unwrap() == fs_err::read(&path).unwrap(),
            "{form:?}"
        );
        assert!(
            fs_err::metadata(bench.path("file")).unwrap().blocks() * 512 < 2 * MIB,
            "{form:?}"
        );
    }
}

#[test]
fn maps_that_do_not_fit_are_corrupt() {
    let corrupt = |bytes: Vec<u8>, why: &str| {
        let error = Bench::new().unpack(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{why}: {error}");
    };
    for (parts, whole, why) in [
        (&[(0, 612)][..], 600, "beyond the end"),
        (&[(0, 512), (100, 100)], 1000, "overlapping"),
        (&[(512, 512), (0, 100)], 2000, "in no order"),
        (&[(0, 512)], 1000, "less than the content"),
        (&[(0, 512), (600, 512)], 2000, "more than the content"),
        (&[(u64::MAX - 10, 100), (0, 512)], u64::MAX, "past every number"),
    ] {
        let mut bytes = old("file", parts, whole, false, &content());
        bytes.extend(padded(content()));
        corrupt(Tar { bytes }.end(), why);
    }
    for (records, why) in [
        (&[("GNU.sparse.map", &b"0,612"[..])][..], "without a size"),
        (
            &[("GNU.sparse.size", b"612"), ("GNU.sparse.map", b"0,612,5")],
            "an odd map",
        ),
        (
            &[("GNU.sparse.size", b"612"), ("GNU.sparse.numbytes", b"612")],
            "a length without an offset",
        ),
        (
            &[("GNU.sparse.size", b"612"), ("GNU.sparse.offset", b"0")],
            "an offset without a length",
        ),
        (
            &[("GNU.sparse.size", b"-1"), ("GNU.sparse.map", b"")],
            "a negative size",
        ),
        (
            &[
                ("GNU.sparse.major", b"2"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.realsize", b"612"),
            ],
            "another form",
        ),
        (&[("GNU.sparse.new", b"1")], "an unknown word"),
        (
            &[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.realsize", b"612"),
            ],
            "no map before the content",
        ),
    ] {
        let tar = Tar::default().pax(records);
        corrupt(tar.raw(b'0', b"file", b"", 0o644, &content(), |_| {}).end(), why);
    }
    // A map without an end is not read for ever.
    let endless = Tar::default()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"612"),
        ])
        .raw(b'0', b"file", b"", 0o644, &[b'1'; 5000], |_| {});
    corrupt(endless.end(), "digits without end");
    let cut = old("file", &[], 10, true, b"");
    corrupt(cut, "no block after the header");
}

#[test]
fn a_file_longer_than_any_is_refused() {
    let mut bytes = old("file", &[], 0, false, b"");
    let whole = (1_u64 << 62).to_be_bytes();
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&bytes);
    let fields = header.as_gnu_mut().unwrap();
    fields.realsize = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    fields.realsize[4..].copy_from_slice(&whole);
    header.set_cksum();
    bytes = header.as_bytes().to_vec();
    Bench::new().refused(Tar { bytes }, "longer than this file system takes");
}
