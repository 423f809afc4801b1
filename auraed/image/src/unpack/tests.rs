//! Layers, honest and hostile, applied to directories: what they are made of, and where. Needs root: ownership and
//! devices are part of a layer.

mod bounds;
mod entries;
mod links;
mod outside;
mod replaced;
mod sparse;
mod whiteouts;

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use super::*;
use crate::ErrorKind;

/// Writes tar streams without any of the checks that a library makes.
#[derive(Default)]
struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    fn raw(
        mut self,
        kind: u8,
        path: &[u8],
        link: &[u8],
        mode: u32,
        content: &[u8],
        edit: fn(&mut tar::Header),
    ) -> Tar {
        if path.len() > 100 || link.len() > 100 {
            let mut records = Vec::new();
            for (key, value) in [(&b"path"[..], path), (b"linkpath", link)] {
                if !value.is_empty() {
                    records.extend(pax_record(key, value));
                }
            }
            self = self.raw(b'x', b"pax", b"", 0, &records, |_| {});
        }
        let mut header = tar::Header::new_ustar();
        {
            let fields = header.as_ustar_mut().unwrap();
            let length = path.len().min(100);
            fields.name[..length].copy_from_slice(&path[..length]);
            let length = link.len().min(100);
            fields.linkname[..length].copy_from_slice(&link[..length]);
            fields.typeflag = [kind];
        }
        header.set_mode(mode);
        header.set_uid(1000);
        header.set_gid(2000);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        edit(&mut header);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Tar {
        self.raw(b'0', path.as_bytes(), b"", 0o644, content.as_bytes(), |_| {})
    }

    fn directory(self, path: &str, mode: u32) -> Tar {
        self.raw(b'5', path.as_bytes(), b"", mode, b"", |_| {})
    }

    fn symlink(self, path: &str, target: &str) -> Tar {
        self.raw(b'2', path.as_bytes(), target.as_bytes(), 0o777, b"", |_| {})
    }

    fn hard_link(self, path: &str, target: &str) -> Tar {
        self.raw(b'1', path.as_bytes(), target.as_bytes(), 0o644, b"", |_| {})
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let data: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| pax_record(key.as_bytes(), value))
            .collect();
        self.raw(b'x', b"pax", b"", 0, &data, |_| {})
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if rest + length.to_string().len() > length {
        length += 1;
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend([key, b"=", value, b"\n"].concat());
    record
}

/// A root to unpack into, in a directory that nothing else may appear in.
struct Bench {
    outer: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let outer = tempfile::tempdir().unwrap();
        for name in ["root", "replaced"] {
            fs_err::create_dir(outer.path().join(name)).unwrap();
        }
        fs_err::write(outer.path().join("outside"), "untouched").unwrap();
        Bench { outer }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.outer.path().join("root").join(path)
    }

    fn open(&self, name: &str) -> OwnedFd {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        rustix::fs::open(self.outer.path().join(name), flags, Mode::empty()).unwrap()
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, UnpackError> {
        let result = unpack(&mut &bytes[..], self.open("root"), self.open("replaced"));
        let mut outside: Vec<_> = fs_err::read_dir(self.outer.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        outside.sort();
        assert_eq!(outside, ["outside", "replaced", "root"]);
        assert_eq!(
            fs_err::read_to_string(self.outer.path().join("outside")).unwrap(),
            "untouched"
        );
        result
    }

    fn refused(&self, tar: Tar, reason: &str) {
        let error = self.unpack(&tar.end()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

fn unpacked(tar: Tar) -> Bench {
    let bench = Bench::new();
    bench.unpack(&tar.end()).unwrap();
    bench
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}
