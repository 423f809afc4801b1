//! Layers, honest and hostile, applied to directories. Needs root: ownership and devices are part of a layer.

mod links;
mod sparse;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use proptest::prelude::*;
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

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, UnpackError> {
        let open = |name| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            rustix::fs::open(self.outer.path().join(name), flags, Mode::empty()).unwrap()
        };
        let result = unpack(&mut &bytes[..], open("root"), open("replaced"));
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

#[test]
fn whiteouts_of_nothing_sensible_are_refused() {
    for path in [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh.a/b"] {
        Bench::new().refused(Tar::default().file(path, ""), "");
    }
}

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
