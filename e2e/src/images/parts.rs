//! Layers that several recipes share.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::Store;
use super::layer::{Compression, Layer, Writer};
use crate::home;
use crate::process::output;

/// Users and groups of the images, beside those that one adds.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
";
const GROUP: &str = "root:x:0:
daemon:x:1:
bin:x:2:
www-data:x:33:
nogroup:x:65534:
";

/// What Debian's packages were unpacked into.
pub(super) fn tree(name: &str) -> anyhow::Result<PathBuf> {
    let path = home::cache().join("debian").join(name);
    if !path.is_dir() {
        bail!(
            "{} is missing: run `cargo xtask setup` (or `make test`, which does)",
            path.display()
        );
    }
    Ok(path)
}

/// A text that changes when one of these files does.
pub(super) fn inputs(files: &[PathBuf]) -> anyhow::Result<String> {
    let mut text = String::new();
    for path in files {
        let metadata = fs_err::metadata(path)?;
        text.push_str(&format!(
            " {}:{}:{:?}",
            path.display(),
            metadata.len(),
            metadata.modified()?
        ));
    }
    Ok(text)
}

/// busybox with a hard link an applet, users, and the directories that programs expect.
pub(super) fn base(store: &Store, program: &Path, user: Option<&str>) -> anyhow::Result<Layer> {
    let applets = output(Command::new(program).arg("--list-full")).context("listing busybox' applets")?;
    let mut layer = Writer::new();
    layer.file("bin/busybox", 0o755, &fs_err::read(program)?)?;
    for applet in applets.lines().filter(|applet| *applet != "bin/busybox") {
        layer.hard_link(applet, "bin/busybox")?;
    }
    users(&mut layer, user)?;
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

/// The users, and one more with number 1000, who is also in a group that only the image knows.
pub(super) fn users(layer: &mut Writer, further: Option<&str>) -> anyhow::Result<()> {
    let (mut passwd, mut group) = (PASSWD.to_owned(), GROUP.to_owned());
    if let Some(name) = further {
        passwd.push_str(&format!("{name}:x:1000:1000::/home:/bin/sh\n"));
        group.push_str(&format!(
            "{name}:x:1000:\ngroup-defined-in-image:x:50000:{name}\n"
        ));
    }
    layer.file("etc/passwd", 0o644, passwd.as_bytes())?;
    layer.file("etc/group", 0o644, group.as_bytes())
}

/// nginx with what it needs, on this port, logging to its standard output and error.
pub(super) fn nginx(store: &Store, port: u16, compression: Compression) -> anyhow::Result<Layer> {
    let mut layer = Writer::new();
    layer.tree(&tree("nginx")?, &programs_and_libraries)?;
    layer.file(
        "etc/nginx/nginx.conf",
        0o644,
        nginx_configuration(port).as_bytes(),
    )?;
    for directory in ["var/lib/nginx", "var/log/nginx"] {
        layer.directory(directory, 0o755)?;
    }
    layer.finish(store, compression)
}

/// What nginx serves.
pub(super) fn page(store: &Store, text: &str) -> anyhow::Result<Layer> {
    let mut layer = Writer::new();
    layer.file("usr/share/nginx/html/index.html", 0o644, text.as_bytes())?;
    layer.finish(store, Compression::Gzip)
}

/// Whether a file of a Debian package is worth having: not what documents, configures or converts, and no link in place
/// of a directory of the layer below.
pub(super) fn programs_and_libraries(path: &str) -> bool {
    path.contains('/')
        && !path.starts_with("usr/share/")
        && !path.starts_with("etc/")
        && !path.contains("/gconv/")
        && !path.contains("/audit/")
}

fn nginx_configuration(port: u16) -> String {
    format!(
        "worker_processes 1;
error_log stderr;
pid /run/nginx.pid;
events {{ worker_connections 64; }}
http {{
  access_log /dev/stdout;
  server {{ listen {port}; root /usr/share/nginx/html; }}
}}
"
    )
}
