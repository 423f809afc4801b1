//! Hard links to files of lower layers.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;
use crate::ErrorKind;

/// Gives the layer added last a link; at its place there is a whiteout already.
fn linked(bench: Bench, links: &[(&str, &str)]) -> Bench {
    let bytes: Vec<u8> = links
        .iter()
        .flat_map(|(path, target)| [path.as_bytes(), &[0], target.as_bytes(), &[0]].concat())
        .collect();
    let name = bench.name(bench.image.len() - 1);
    fs_err::write(bench.layers.links(&name), bytes).unwrap();
    bench
}

fn place(path: &'static str) -> impl FnOnce(&Path) {
    move |root: &Path| {
        fs_err::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        whiteout(&root.join(path));
    }
}

fn base(root: &Path) {
    fs_err::create_dir_all(root.join("usr/lib")).unwrap();
    fs_err::write(root.join("usr/lib/file"), "below").unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("/usr/../usr/lib/", root.join("way")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
}

/// The content that overlayfs shows at some paths; absent where there is no file.
fn contents(bench: &Bench, paths: &[&str]) -> BTreeMap<String, Option<String>> {
    let mut contents = BTreeMap::new();
    bench.mounted(|root| {
        for path in paths {
            contents.insert((*path).to_owned(), fs_err::read_to_string(root.join(path)).ok());
        }
    });
    contents
}

#[test]
fn a_link_shows_what_lower_layers_have() {
    for target in ["usr/lib/file", "lib/file", "way/file"] {
        let bench = Bench::new()
            .layer(&[("usr", Some(0o711))], base)
            .layer(&[("usr", None)], place("usr/link"));
        let bench = linked(bench, &[("usr/link", target)]);
        let stack = bench.stack();
        assert!(stack[0].starts_with("chain-"), "{stack:?}");
        let shown = contents(&bench, &["usr/link", "usr/lib/file"]);
        assert_eq!(shown["usr/link"].as_deref(), Some("below"), "{target}");
        assert_eq!(shown["usr/lib/file"].as_deref(), Some("below"));
        assert_eq!(bench.shown(&["usr"]), [(0o711, 0)]);
        // A link, not a copy.
        let file = bench.layers.root(&stack[0]).join("usr/link");
        assert_eq!(fs_err::metadata(file).unwrap().nlink(), 2);
        assert_eq!(bench.stack(), stack);
    }
}

#[test]
fn a_link_leads_to_another_one_of_a_lower_layer() {
    let bench = Bench::new().layer(&[], base).layer(&[], place("first"));
    let bench = linked(bench, &[("first", "lib/file")]).layer(&[], place("second"));
    let bench = linked(bench, &[("second", "first")]);
    let shown = contents(&bench, &["first", "second"]);
    assert!(
        shown.values().all(|content| content.as_deref() == Some("below")),
        "{shown:?}"
    );
}

#[test]
fn a_link_that_is_hidden_or_replaced_does_not_show() {
    let hidden = Bench::new().layer(&[], base).layer(&[], place("a/link"));
    let hidden = linked(hidden, &[("a/link", "usr/lib/file")]).layer(&[], |root| {
        fs_err::create_dir(root.join("a")).unwrap();
        fs_err::write(root.join("a/link"), "above").unwrap();
    });
    assert_eq!(contents(&hidden, &["a/link"])["a/link"].as_deref(), Some("above"));
    assert_eq!(hidden.stack().len(), 3);

    let deleted = Bench::new().layer(&[], base).layer(&[], place("a/link"));
    let deleted = linked(deleted, &[("a/link", "usr/lib/file")]).layer(&[], |root| whiteout(&root.join("a")));
    assert_eq!(contents(&deleted, &["a/link"])["a/link"], None);

    let opaque = Bench::new().layer(&[], base).layer(&[], place("a/link"));
    let opaque = linked(opaque, &[("a/link", "usr/lib/file")]).layer(&[("a", Some(0o755))], |root| {
        super::opaque(&root.join("a"));
    });
    assert_eq!(contents(&opaque, &["a/link"])["a/link"], None);

    let replaced = Bench::new()
        .layer(&[], base)
        .layer(&[("a", Some(0o755))], |root| {
            fs_err::write(root.join("a/link"), "later").unwrap();
        });
    let replaced = linked(replaced, &[("a/link", "usr/lib/file")]);
    assert_eq!(
        contents(&replaced, &["a/link"])["a/link"].as_deref(),
        Some("later")
    );
}

#[test]
fn a_link_to_nothing_a_directory_or_out_is_refused() {
    for target in [
        "nowhere",
        "usr/lib",
        "loop/file",
        "usr/lib/file/below",
        "../../../../etc/passwd/x",
    ] {
        let bench = Bench::new().layer(&[], base).layer(&[], place("link"));
        let bench = linked(bench, &[("link", target)]);
        let error = stack(&bench.layers, &bench.image, &mut bench.layers.pin(Vec::new())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{target}: {error}");
        assert!(error.to_string().contains(target), "{error}");
    }
    // Links of an image lead nowhere but into the image.
    let bench = Bench::new()
        .layer(&[], |root| {
            symlink("/etc", root.join("out")).unwrap();
            symlink("../../../../../../etc", root.join("up")).unwrap();
        })
        .layer(&[], place("link"));
    for target in ["out/passwd", "up/passwd"] {
        let name = bench.name(1);
        fs_err::write(bench.layers.links(&name), format!("link\0{target}\0")).unwrap();
        assert!(stack(&bench.layers, &bench.image, &mut bench.layers.pin(Vec::new())).is_err());
    }
}
