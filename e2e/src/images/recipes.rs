//! What is in each image of the suite's own.

use std::path::PathBuf;

use super::layer::{Compression, Layer, Writer};
use super::manifest::{Form, Spec, words};
use super::{Store, parts};
use crate::home;

/// Raise it when a recipe changes.
const REVISION: u32 = 2;

/// A text that changes when an image has to be made again.
pub(super) fn inputs() -> anyhow::Result<String> {
    let files = [
        busybox()?,
        home::built("agnhost")?,
        parts::tree("nginx")?.join("usr/sbin/nginx"),
    ];
    Ok(format!("{REVISION}{}", parts::inputs(&files)?))
}

/// Makes all of them.
pub(super) fn make(store: &mut Store) -> anyhow::Result<()> {
    let base = parts::base(store, &busybox()?, Some("default-user"))?;
    let shell = Spec {
        command: words(&["sh"]),
        ..Spec::default()
    };
    store.add("busybox", &shell, std::slice::from_ref(&base), Form::DockerList)?;
    let marker = marker(store)?;
    store.add("busybox-2", &shell, &[base.clone(), marker], Form::Oci)?;
    let user = Spec {
        user: "default-user".to_owned(),
        ..shell
    };
    store.add("nonroot", &user, std::slice::from_ref(&base), Form::Oci)?;
    let agnhost = agnhost(store)?;
    let spec = Spec {
        entrypoint: words(&["/agnhost"]),
        command: words(&["pause"]),
        ..Spec::default()
    };
    store.add("agnhost", &spec, &[base.clone(), agnhost], Form::Oci)?;
    let server = parts::nginx(store, 80, Compression::Zstd)?;
    for version in ["1", "2"] {
        let page = parts::page(store, &format!("Welcome to nginx! version {version}\n"))?;
        let spec = Spec {
            command: words(&["nginx", "-g", "daemon off;"]),
            environment: vec![format!("VERSION={version}")],
            ..Spec::default()
        };
        store.add(
            &format!("nginx-{version}"),
            &spec,
            &[base.clone(), server.clone(), page],
            Form::Oci,
        )?;
    }
    Ok(())
}

fn busybox() -> anyhow::Result<PathBuf> {
    Ok(parts::tree("busybox")?.join("bin/busybox"))
}

fn marker(store: &Store) -> anyhow::Result<Layer> {
    let mut layer = Writer::new();
    layer.file("etc/second", 0o644, b"second\n")?;
    // Gone in the result: the mark of a deleted file.
    layer.file("etc/.wh.group", 0o644, b"")?;
    layer.finish(store, Compression::Gzip)
}

fn agnhost(store: &Store) -> anyhow::Result<Layer> {
    let mut layer = Writer::new();
    layer.file("agnhost", 0o755, &fs_err::read(home::built("agnhost")?)?)?;
    layer.hard_link("agnhost-2", "agnhost")?;
    layer.directory("uploads", 0o755)?;
    layer.finish(store, Compression::Gzip)
}
