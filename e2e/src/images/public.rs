//! Stand-ins for the public images that critest and e2e.test pull: each holds what its users look for in it.
//!
//! Names of registry.k8s.io are Docker manifest lists and the rest plain OCI manifests, as a puller meets both. Each tag is
//! an image of its own, because critest counts and removes by id, but for the one that has three tags.

use std::path::PathBuf;

use super::layer::{Compression, Layer, Writer};
use super::manifest::{Form, Spec, words};
use super::{Blob, Store, parts};
use crate::home;

/// Raise it when a recipe changes.
const REVISION: u32 = 3;

const TEST_IMAGES: &str = "registry.k8s.io/e2e-test-images";
const STAGING: &str = "gcr.io/k8s-staging-cri-tools";
const LIBRARY: &str = "docker.io/library";

const HTTPD: &str = "#!/bin/sh
# Stands in for Apache's, whose start its users wait for in the log.
echo \"[mpm_event:notice] httpd (stand-in) configured -- resuming normal operations\"
exec httpd -f -v -p 80 -h /usr/local/apache2/htdocs
";

/// A text that changes when an image has to be made again.
pub(super) fn inputs() -> anyhow::Result<String> {
    let files = [
        home::built("busybox")?,
        home::built("agnhost")?,
        home::built("nonewprivs")?,
        home::built("pause")?,
        parts::tree("nginx")?.join("usr/sbin/nginx"),
        parts::tree("tools")?.join("usr/bin/curl"),
        file("nautilus/html/nautilus.jpg"),
    ];
    Ok(format!("{REVISION}{}", parts::inputs(&files)?))
}

/// Makes all of them.
pub(super) fn make(store: &mut Store) -> anyhow::Result<()> {
    let base = parts::base(store, &home::built("busybox")?, None)?;
    pauses(store)?;
    busyboxes(store, &base)?;
    servers(store, &base)?;
    agnhosts(store, &base)?;
    staging(store, &base)
}

/// A file of Kubernetes' test images, below `test/images` of its module.
fn file(path: &str) -> PathBuf {
    home::cache().join("files/test/images").join(path)
}

fn add(store: &mut Store, name: &str, spec: &Spec, layers: &[Layer]) -> anyhow::Result<()> {
    let form = if name.starts_with("registry.k8s.io/") {
        Form::DockerList
    } else {
        Form::Oci
    };
    store.add(name, spec, layers, form)
}

fn layer(store: &Store, write: impl FnOnce(&mut Writer) -> anyhow::Result<()>) -> anyhow::Result<Layer> {
    let mut layer = Writer::new();
    write(&mut layer)?;
    layer.finish(store, Compression::Gzip)
}

/// What a command line runs, without an entrypoint.
fn command(list: &[&str]) -> Spec {
    Spec {
        command: words(list),
        ..Spec::default()
    }
}

fn pauses(store: &mut Store) -> anyhow::Result<()> {
    let program = fs_err::read(home::built("pause")?)?;
    let pause = layer(store, |layer| layer.file("pause", 0o755, &program))?;
    for tag in ["3.9", "3.10", "3.10.1", "3.10.2"] {
        let spec = Spec {
            entrypoint: words(&["/pause"]),
            user: "65535:65535".to_owned(),
            ..Spec::default()
        };
        let name = format!("registry.k8s.io/pause:{tag}");
        add(store, &name, &spec, std::slice::from_ref(&pause))?;
    }
    Ok(())
}

fn busyboxes(store: &mut Store, base: &Layer) -> anyhow::Result<()> {
    let alone = std::slice::from_ref(base);
    let shell = command(&["sh"]);
    for tag in ["1.29-2", "1.29-4", "1.36.1-1", "1.37.0-2"] {
        add(store, &format!("{TEST_IMAGES}/busybox:{tag}"), &shell, alone)?;
    }
    add(store, &format!("{LIBRARY}/busybox:latest"), &shell, alone)?;
    let user = Spec {
        user: "1234".to_owned(),
        ..shell
    };
    add(store, &format!("{TEST_IMAGES}/nonroot:1.5"), &user, alone)?;
    let program = fs_err::read(home::built("nonewprivs")?)?;
    // Set-user-ID and set-group-ID, which its users want to be without effect.
    let nnp = layer(store, |layer| layer.file("usr/local/bin/nnp", 0o6755, &program))?;
    for tag in ["1.3", "1.4"] {
        let name = format!("{TEST_IMAGES}/nonewprivs:{tag}");
        add(store, &name, &command(&["nnp"]), &[base.clone(), nnp.clone()])?;
    }
    Ok(())
}

fn servers(store: &mut Store, base: &Layer) -> anyhow::Result<()> {
    let page = parts::page(store, "Welcome to nginx!\n")?;
    let run = command(&["nginx", "-g", "daemon off;"]);
    let nginx = parts::nginx(store, 80, Compression::Gzip)?;
    let layers = [base.clone(), nginx, page.clone()];
    for tag in ["1.14-2", "1.27.0-2", "1.28.0-2"] {
        add(store, &format!("{TEST_IMAGES}/nginx:{tag}"), &run, &layers)?;
    }
    add(store, &format!("{LIBRARY}/nginx:latest"), &run, &layers)?;
    let nginx = parts::nginx(store, 12003, Compression::Zstd)?;
    let layers = [base.clone(), nginx, page];
    for name in ["hostnet-nginx-amd64", "hostnet-nginx"] {
        add(store, &format!("{STAGING}/{name}:latest"), &run, &layers)?;
    }
    let httpd = layer(store, |layer| {
        layer.file("usr/local/bin/httpd-foreground", 0o755, HTTPD.as_bytes())?;
        let page = b"<html><body><h1>It works!</h1></body></html>\n";
        layer.file("usr/local/apache2/htdocs/index.html", 0o644, page)
    })?;
    let run = command(&["httpd-foreground"]);
    let layers = [base.clone(), httpd];
    add(store, &format!("{TEST_IMAGES}/httpd:2.4.39-4"), &run, &layers)?;
    add(store, &format!("{LIBRARY}/httpd:latest"), &run, &layers)
}

fn agnhosts(store: &mut Store, base: &Layer) -> anyhow::Result<()> {
    let tree = parts::tree("tools")?;
    let tools = layer(store, |layer| {
        layer.tree(&tree, &parts::programs_and_libraries)?;
        // Debian's alternatives are links that no package holds.
        layer.symbolic_link("usr/bin/nc", "/bin/nc.openbsd")
    })?;
    let shell = command(&["sh"]);
    let layers = [base.clone(), tools.clone()];
    for name in ["ipc-utils:1.4", "glibc-dns-testing:2.1.1"] {
        add(store, &format!("{TEST_IMAGES}/{name}"), &shell, &layers)?;
    }
    let program = layer(store, agnhost)?;
    let registry = fake_registry(store)?;
    let layers = [base.clone(), tools, program, registry];
    let run = |command: &str| Spec {
        entrypoint: words(&["/agnhost"]),
        command: words(&[command]),
        ..Spec::default()
    };
    for tag in ["2.55", "2.59", "2.66.1"] {
        add(
            store,
            &format!("{TEST_IMAGES}/agnhost:{tag}"),
            &run("pause"),
            &layers,
        )?;
    }
    for animal in ["kitten", "nautilus"] {
        let picture = format!("{animal}.jpg");
        let page = layer(store, |layer| {
            for name in ["data.json", &picture] {
                let content = fs_err::read(file(animal).join("html").join(name))?;
                layer.file(name, 0o644, &content)?;
            }
            Ok(())
        })?;
        let layers: Vec<Layer> = layers.iter().cloned().chain([page]).collect();
        let name = format!("{TEST_IMAGES}/{animal}:1.8");
        add(store, &name, &run("test-webserver"), &layers)?;
    }
    Ok(())
}

fn agnhost(layer: &mut Writer) -> anyhow::Result<()> {
    layer.file("agnhost", 0o755, &fs_err::read(home::built("agnhost")?)?)?;
    layer.symbolic_link("agnhost-2", "agnhost")?;
    for name in ["localhost.crt", "localhost.key"] {
        let content = fs_err::read(file("agnhost/porter").join(name))?;
        layer.file(name, 0o644, &content)?;
    }
    layer.directory("uploads", 0o755)?;
    parts::users(layer, Some("user-defined-in-image"))?;
    // What a test of images as volumes reads.
    layer.file("etc/os-release", 0o644, b"NAME=\"Alpine Linux\"\nID=alpine\n")
}

/// `pause:testing` as `agnhost fake-registry-server` serves it: by digest, and a tag is a file with a digest.
fn fake_registry(store: &Store) -> anyhow::Result<Layer> {
    const ROOT: &str = "var/registry/pause";
    let image = store.image("registry.k8s.io/pause:3.10.2")?.clone();
    let of = |blob: &Blob| anyhow::Ok(fs_err::read(store.file(blob))?);
    layer(store, |layer| {
        let tag = format!("{ROOT}/manifests/testing");
        layer.file(&tag, 0o644, format!("{}\n", image.root.digest).as_bytes())?;
        let manifests = std::iter::once(&image.root).chain(&image.manifests);
        let below = manifests.map(|blob| ("manifests", blob));
        for (kind, blob) in below.chain(image.blobs.iter().map(|blob| ("blobs", blob))) {
            let (hex, content) = (blob.hex(), of(blob)?);
            let path = format!("{ROOT}/{kind}/sha256/{}/{hex}/data", &hex[..2]);
            layer.file(&path, 0o644, &content)?;
        }
        Ok(())
    })
}

fn staging(store: &mut Store, base: &Layer) -> anyhow::Result<()> {
    let alone = std::slice::from_ref(base);
    for (name, user) in [
        ("user-uid", "1002"),
        ("user-username", "www-data"),
        ("user-uid-group", "1003:1004"),
        ("user-username-group", "www-data:1004"),
    ] {
        let spec = Spec {
            user: user.to_owned(),
            ..command(&["sh"])
        };
        add(
            store,
            &format!("{STAGING}/test-image-{name}:latest"),
            &spec,
            alone,
        )?;
    }
    let users = layer(store, |layer| parts::users(layer, Some("default-user")))?;
    let spec = Spec {
        user: "1000".to_owned(),
        ..command(&["sh"])
    };
    let name = format!("{STAGING}/test-image-predefined-group:latest");
    add(store, &name, &spec, &[base.clone(), users])?;
    for name in [
        "test-image-1:latest",
        "test-image-2:latest",
        "test-image-3:latest",
        "test-image-latest:latest",
        "test-image-digest:latest",
        "test-image-tag:test",
        "test-image-tag:all",
        "test-image-tags:1",
    ] {
        // A file of that name, so that each differs.
        let path = format!("test/{}", name.replace(':', "-"));
        let marker = layer(store, |layer| layer.file(&path, 0o644, name.as_bytes()))?;
        let name = format!("{STAGING}/{name}");
        add(store, &name, &command(&["sh"]), &[base.clone(), marker])?;
    }
    for tag in ["2", "3"] {
        let name = format!("{STAGING}/test-image-tags:{tag}");
        store.alias(&name, &format!("{STAGING}/test-image-tags:1"))?;
    }
    Ok(())
}
