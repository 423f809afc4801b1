//! A full disk: a small file system under the image directory. Needs root, for the mount.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use auraed_image::{Config, ErrorKind, Store};

use crate::support::image::{Packing, image, large_tar, small, tar};
use crate::support::registry::Registry;
use crate::support::{FakeIndex, chain, parse};

/// A tmpfs; it is unmounted with the value.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path) -> SmallDisk {
        fs_err::create_dir_all(path).unwrap();
        rustix::mount::mount(
            "small",
            path,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            c"size=4m",
        )
        .unwrap();
        SmallDisk {
            path: path.to_owned(),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_with_its_directory_and_nothing_is_left() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let registry = Registry::start().await;
    let layers = [tar(&[("arrives", "x")]), large_tar(8 * 1024 * 1024)];
    registry.add("large", "1", &image(&layers, Packing::Gzip));
    registry.add("small", "1", &small("x"));
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&directory.path().join("images"));
    let config = Config::new(disk.path.clone());
    let store = Store::open(config, Vec::new(), Arc::new(FakeIndex::default()))
        .await
        .unwrap();

    let pull = async |reference: &str| {
        let (progress, _) = tokio::sync::mpsc::unbounded_channel();
        store
            .pull(&parse(&registry.reference(reference)), &[], progress)
            .await
    };
    let error = pull("large:1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", chain(&error));
    let expected = format!("no space left on the file system of {}", disk.path.display());
    assert!(chain(&error).contains(&expected), "{}", chain(&error));
    assert_eq!(fs_err::read_dir(disk.path.join("ingest")).unwrap().count(), 0);
    let layers = fs_err::read_dir(disk.path.join("layers")).unwrap();
    assert_eq!(layers.count(), 1, "only the empty layer is left");
    pull("small:1").await.unwrap();

    let archive = large_tar(8 * 1024 * 1024);
    let error = store
        .import(std::io::Cursor::new(archive), None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", chain(&error));
    assert!(chain(&error).contains(&expected), "{}", chain(&error));
    assert_eq!(fs_err::read_dir(disk.path.join("ingest")).unwrap().count(), 0);
}
