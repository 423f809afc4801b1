//! Layers as directories, joined by overlayfs itself. Needs root, for the mount and the ownership.

mod links;
mod model;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::unpack::OPAQUE_ATTRIBUTE;

/// A store's layers, named by their number, lowest first.
struct Bench {
    directory: tempfile::TempDir,
    layers: Layers,
    image: Vec<Layer>,
}

/// A path in a layer: with a mode it is an explicit directory, without one an implied directory.
type Directory<'a> = (&'a str, Option<u32>);

impl Bench {
    fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let layers = Layers::open(directory.path()).unwrap();
        Bench {
            directory,
            layers,
            image: Vec::new(),
        }
    }

    fn layer(mut self, directories: &[Directory<'_>], edit: impl FnOnce(&Path)) -> Bench {
        let digest = Digest::sha256(self.image.len().to_string().as_bytes());
        let staging = self.layers.ingest().staging().unwrap();
        let mut implied = vec![0];
        for (path, mode) in directories {
            let full = staging.root().join(path);
            fs_err::create_dir_all(&full).unwrap();
            fs_err::set_permissions(&full, std::fs::Permissions::from_mode(mode.unwrap_or(0o755))).unwrap();
            if mode.is_none() {
                implied.extend(path.bytes().chain([0]));
            }
        }
        edit(&staging.root());
        fs_err::write(staging.implied(), implied).unwrap();
        self.layers.publish(staging, &digest.file_name()).unwrap();
        self.image.push(Layer {
            diff_id: digest.clone(),
            digest,
            size_bytes: 0,
        });
        self
    }

    fn stack(&self) -> Vec<String> {
        stack(&self.layers, &self.image, &mut self.layers.pin(Vec::new())).unwrap()
    }

    fn name(&self, index: usize) -> String {
        self.image[index].diff_id.file_name()
    }

    /// The mode and owner that overlayfs shows.
    fn shown(&self, paths: &[&str]) -> Vec<(u32, u32)> {
        let mut shown = Vec::new();
        self.mounted(|root| {
            shown.extend(paths.iter().map(|path| {
                let metadata = fs_err::metadata(root.join(path));
                metadata.map_or((0, 0), |metadata| (metadata.mode() & 0o7777, metadata.uid()))
            }));
        });
        shown
    }

    /// Looks at what overlayfs makes of it.
    fn mounted(&self, look: impl FnOnce(&Path)) {
        let lowers: Vec<String> = self
            .stack()
            .iter()
            .map(|name| self.layers.root(name).display().to_string())
            .collect();
        let target = self.directory.path().join("mounted");
        fs_err::create_dir_all(&target).unwrap();
        // Read-only overlays want two lower directories.
        let options = std::ffi::CString::new(format!(
            "lowerdir={}:{}",
            lowers.join(":"),
            self.layers.root(EMPTY).display()
        ))
        .unwrap();
        rustix::mount::mount(
            "overlay",
            &target,
            "overlay",
            rustix::mount::MountFlags::RDONLY,
            options.as_c_str(),
        )
        .unwrap();
        let _mounted = Mounted(target.clone());
        look(&target);
    }
}

/// Unmounted with the value, also where a test fails.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

fn nothing(_: &Path) {}

fn whiteout(path: &Path) {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .unwrap();
}

fn opaque(path: &Path) {
    let directory = open_directory(path).unwrap();
    rustix::fs::fsetxattr(&directory, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty()).unwrap();
}

#[test]
fn an_implied_directory_looks_like_the_one_below() {
    let bench = Bench::new()
        .layer(
            &[
                ("tmp", Some(0o1777)),
                ("home", Some(0o755)),
                ("home/user", Some(0o700)),
            ],
            |root| {
                std::os::unix::fs::chown(root.join("home/user"), Some(1000), Some(1000)).unwrap();
            },
        )
        .layer(
            &[
                ("tmp", None),
                ("home", None),
                ("home/user", None),
                ("home/user/x", None),
            ],
            nothing,
        )
        .layer(&[("home", None), ("home/user", None)], nothing);
    let stack = bench.stack();
    assert!(stack[0].starts_with("chain-") && stack.len() == 4, "{stack:?}");
    let shown = bench.shown(&["tmp", "home", "home/user", "home/user/x"]);
    assert_eq!(shown, [(0o1777, 0), (0o755, 0), (0o700, 1000), (0o755, 0)]);
    assert_eq!(bench.stack(), stack);
}

#[test]
fn nothing_is_added_where_it_would_change_nothing() {
    let bench = Bench::new()
        .layer(&[("usr", Some(0o755)), ("tmp", Some(0o1777))], nothing)
        .layer(&[("usr", None), ("tmp", Some(0o1777))], nothing);
    assert_eq!(bench.stack(), [bench.name(1), bench.name(0)]);
}

#[test]
fn deletions_between_hide_what_is_below() {
    let removed = Bench::new()
        .layer(&[("a", Some(0o700)), ("a/b", Some(0o700))], nothing)
        .layer(&[], |root| whiteout(&root.join("a")))
        .layer(&[("a", None), ("a/b", None)], nothing);
    assert_eq!(removed.stack().len(), 3);
    let opaque_parent = Bench::new()
        .layer(&[("a", Some(0o700)), ("a/b", Some(0o700))], nothing)
        .layer(&[("a", Some(0o755))], |root| opaque(&root.join("a")))
        .layer(&[("a", None), ("a/b", None)], nothing);
    assert_eq!(opaque_parent.stack().len(), 3);
    assert_eq!(opaque_parent.shown(&["a/b"]), [(0o755, 0)]);
    let file = Bench::new()
        .layer(&[("a", Some(0o700))], nothing)
        .layer(&[], |root| fs_err::write(root.join("a"), "").unwrap())
        .layer(&[("a", None)], nothing);
    assert_eq!(file.stack().len(), 3);
}

#[test]
fn layers_that_cannot_be_seen_are_left_out() {
    let mut twice = Bench::new()
        .layer(&[("a", Some(0o755))], nothing)
        .layer(&[("b", Some(0o755))], nothing);
    twice.image.push(twice.image[0].clone());
    assert_eq!(twice.stack(), [twice.name(0), twice.name(1)]);
    let opaque_root = Bench::new()
        .layer(&[("a", Some(0o755))], nothing)
        .layer(&[("b", Some(0o755))], opaque);
    assert_eq!(opaque_root.stack(), [opaque_root.name(1)]);
    assert_eq!(Bench::new().stack(), [EMPTY]);
}

#[test]
fn what_a_layer_deletes_for_nothing_is_not_listed() {
    let bench = Bench::new().layer(&[("a", Some(0o755)), ("b", Some(0o700))], |root| {
        whiteout(&root.join("a/gone"));
    });
    fs_err::write(bench.layers.deleted_in(&bench.name(0)), "a\0").unwrap();
    let stack = bench.stack();
    assert!(stack[0].starts_with("chain-"), "{stack:?}");
    bench.mounted(|root| assert_eq!(fs_err::read_dir(root.join("a")).unwrap().count(), 0));
    assert_eq!(bench.shown(&["a", "b"]), [(0o755, 0), (0o700, 0)]);

    // Joined with another layer's directory it needs nothing.
    let joined = Bench::new()
        .layer(&[("a", Some(0o755))], |root| {
            fs_err::write(root.join("a/gone"), "").unwrap()
        })
        .layer(&[("a", Some(0o755))], |root| whiteout(&root.join("a/gone")));
    fs_err::write(joined.layers.deleted_in(&joined.name(1)), "a\0").unwrap();
    assert_eq!(joined.stack().len(), 2);
    joined.mounted(|root| assert_eq!(fs_err::read_dir(root.join("a")).unwrap().count(), 0));
}

#[test]
fn a_directory_whose_lower_content_is_hidden_stays_what_it_was() {
    let bench = Bench::new()
        .layer(&[("a", Some(0o711)), ("a/below", Some(0o755))], nothing)
        .layer(&[("a", None)], |root| opaque(&root.join("a")));
    bench.mounted(|root| assert!(!root.join("a/below").exists()));
    assert_eq!(bench.shown(&["a"]), [(0o711, 0)]);
}
