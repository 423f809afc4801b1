//! The suite's own ground: what the other tests stand on works by itself.

use anyhow::ensure;
use e2e::images::{Blob, Store};
use e2e::registry::{ADDRESS, Registry};
use e2e::suite::{ground, on_ground};
use e2e::sweep;

#[test]
fn the_registry_serves_what_was_written() {
    on_ground("the_registry_serves_what_was_written", async |ground| {
        for (name, image) in ground.images.images() {
            let accept = format!("Accept: {}", image.media_type);
            let url = format!("http://{ADDRESS}/v2/{name}/manifests/1");
            let manifest = ground.network.run(["curl", "-sSf", "-H", &accept, &url])?;
            ensure!(Blob::of(manifest.as_bytes()) == image.root, "{name}: {manifest}");
            for blob in &image.blobs {
                let url = format!("http://{ADDRESS}/v2/{name}/blobs/{}", blob.digest);
                let size = ground.network.run([
                    "curl",
                    "-sSf",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{size_download}",
                    &url,
                ])?;
                ensure!(
                    size == blob.size.to_string(),
                    "{url}: {size} bytes of {}",
                    blob.size
                );
            }
        }
        ensure!(Registry::reference("busybox") == "127.0.0.1:5000/busybox:1");
        Ok(())
    });
}

#[test]
fn an_archive_names_its_image() {
    on_ground("an_archive_names_its_image", async |_| {
        let target = ground().scratch.path().join("nonroot.tar");
        ground()
            .images
            .archive("nonroot", "example.test/nonroot:1", &target)?;
        let mut archive = tar::Archive::new(fs_err::File::open(&target)?);
        let mut names = Vec::new();
        for entry in archive.entries()? {
            names.push(entry?.path()?.to_string_lossy().into_owned());
        }
        ensure!(names[..2] == ["oci-layout", "index.json"], "{names:?}");
        ensure!(names.len() == 5, "manifest, configuration and a layer: {names:?}");
        Ok(())
    });
}

#[test]
fn a_dead_process_is_not_alive() {
    assert!(sweep::alive(std::process::id()));
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    while sweep::alive(pid) {
        std::thread::yield_now();
    }
    // A zombie until now.
    assert!(child.wait().unwrap().success());
    assert!(!sweep::alive(pid));
}

#[test]
fn an_empty_store_has_no_image() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::empty(directory.path()).unwrap();
    assert!(
        store
            .image("busybox")
            .unwrap_err()
            .to_string()
            .contains("busybox")
    );
}
