use std::io::Write as _;

use super::*;

fn tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    // Its owner and time are left blank.
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "dir/file", &b"hello"[..])
        .unwrap();
    builder.into_inner().unwrap()
}

fn unpack(blob: &[u8], diff_id: &Digest) -> (tempfile::TempDir, Result<Staging, LayerError>) {
    let directory = tempfile::tempdir().unwrap();
    let ingest = Ingest::open(directory.path().join("ingest")).unwrap();
    let plan = Plan {
        layer: Digest::sha256(blob),
        diff_id: diff_id.clone(),
    };
    let staging = unpack_blob(&plan, blob, &ingest);
    (directory, staging)
}

#[test]
fn a_layer_is_unpacked_however_it_is_packed() {
    let plain = tar();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 0).unwrap();
    for blob in [plain.clone(), gzip.finish().unwrap(), zstd] {
        let (_directory, staging) = unpack(&blob, &Digest::sha256(&plain));
        let staging = staging.unwrap();
        assert_eq!(
            fs_err::read_to_string(staging.root().join("dir/file")).unwrap(),
            "hello"
        );
        assert_eq!(fs_err::read(staging.implied()).unwrap(), b"\0dir\0");
        assert!(!staging.replaced().exists());
    }
}

#[test]
fn content_with_another_diff_id_is_corrupt_and_leaves_nothing() {
    let (directory, staging) = unpack(&tar(), &Digest::sha256(b"other"));
    let error = staging.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("diff-id"), "{error}");
    assert_eq!(
        fs_err::read_dir(directory.path().join("ingest")).unwrap().count(),
        0
    );
}

#[test]
fn what_follows_the_end_mark_counts() {
    let mut padded = tar();
    padded.extend([7; 100_000]);
    let (_directory, staging) = unpack(&padded, &Digest::sha256(&padded));
    staging.unwrap();
}

#[test]
fn damage_is_told_as_such() {
    let zstd = zstd::encode_all(tar().as_slice(), 0).unwrap();
    for blob in [
        &zstd[..zstd.len() - 4],
        b"no archive, but long enough to be a header"
            .repeat(20)
            .as_slice(),
    ] {
        let (_directory, staging) = unpack(blob, &Digest::sha256(b""));
        assert_eq!(staging.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
