//! What is in each image.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::Store;
use super::layer::{Compression, Layer, Writer};
use super::manifest::{Form, Spec};
use crate::home;
use crate::process::output;

/// Raise it when a recipe changes.
const REVISION: u32 = 1;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
default-user:x:1000:1000:default:/home:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
";
const GROUP: &str = "root:x:0:
daemon:x:1:
bin:x:2:
www-data:x:33:
default-user:x:1000:
group-defined-in-image:x:50000:default-user
nogroup:x:65534:
";
const NGINX: &str = "worker_processes 1;
error_log stderr;
pid /run/nginx.pid;
events { worker_connections 64; }
http {
  access_log /dev/stdout;
  server { listen 80; root /usr/share/nginx/html; }
}
";

/// A text that changes when an image has to be made again.
pub(super) fn inputs() -> anyhow::Result<String> {
    let mut text = format!("{REVISION}");
    for path in [
        busybox()?,
        home::built("agnhost")?,
        tree("nginx")?.join("usr/sbin/nginx"),
    ] {
        let metadata = fs_err::metadata(&path)?;
        text.push_str(&format!(
            " {}:{}:{:?}",
            path.display(),
            metadata.len(),
            metadata.modified()?
        ));
    }
    Ok(text)
}

/// Makes all of them.
pub(super) fn make(store: &mut Store) -> anyhow::Result<()> {
    let base = base(store)?;
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
    let server = nginx(store)?;
    for version in ["1", "2"] {
        let page = page(store, version)?;
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

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn tree(name: &str) -> anyhow::Result<PathBuf> {
    let path = home::cache().join("debian").join(name);
    if !path.is_dir() {
        bail!(
            "{} is missing: run `cargo xtask setup` (or `make test`, which does)",
            path.display()
        );
    }
    Ok(path)
}

fn busybox() -> anyhow::Result<PathBuf> {
    Ok(tree("busybox")?.join("bin/busybox"))
}

/// busybox with a hard link an applet, users, and the directories that programs expect.
fn base(store: &Store) -> anyhow::Result<Layer> {
    let program = busybox()?;
    let applets = output(Command::new(&program).arg("--list-full")).context("listing busybox' applets")?;
    let mut layer = Writer::new();
    layer.file("bin/busybox", 0o755, &fs_err::read(&program)?)?;
    for applet in applets.lines().filter(|applet| *applet != "bin/busybox") {
        layer.hard_link(applet, "bin/busybox")?;
    }
    layer.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
    layer.file("etc/group", 0o644, GROUP.as_bytes())?;
    for (directory, mode) in [
        ("dev", 0o755),
        ("proc", 0o755),
        ("sys", 0o755),
        ("run", 0o755),
        ("home", 0o755),
        ("var/log", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
    ] {
        layer.directory(directory, mode)?;
    }
    layer.symbolic_link("var/run", "../run")?;
    layer.finish(store, Compression::Gzip)
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

fn nginx(store: &Store) -> anyhow::Result<Layer> {
    let mut layer = Writer::new();
    // What documents, configures or belongs to another program is left out.
    let keep = |path: &str| {
        !path.starts_with("usr/share/")
            && !path.starts_with("etc/")
            && !path.ends_with("/gconv")
            && !path.contains("/gconv/")
    };
    layer.tree(Path::new(&tree("nginx")?), &keep)?;
    layer.file("etc/nginx/nginx.conf", 0o644, NGINX.as_bytes())?;
    for directory in ["var/lib/nginx", "var/log/nginx"] {
        layer.directory(directory, 0o755)?;
    }
    layer.finish(store, Compression::Zstd)
}

fn page(store: &Store, version: &str) -> anyhow::Result<Layer> {
    let mut layer = Writer::new();
    layer.file(
        "usr/share/nginx/html/index.html",
        0o644,
        format!("Welcome to nginx! version {version}\n").as_bytes(),
    )?;
    layer.finish(store, Compression::Gzip)
}
