//! Archives of both kinds, packed in each way, with their files in any order.

use std::io::Cursor;

use auraed_image::{Digest, ErrorKind, Image, ImportError};
use serde_json::{Value, json};

use crate::support::image::{
    BuiltImage, OCI_INDEX, Packing, architecture, descriptor, image, index, pack, small, tar,
};
use crate::support::{Node, chain};

/// Files of an archive, in their order.
type Files = Vec<(String, Vec<u8>)>;

fn blob(content: &[u8]) -> (String, Vec<u8>) {
    (
        format!("blobs/sha256/{}", Digest::sha256(content).hex()),
        content.to_vec(),
    )
}

fn archive(files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder
            .append_data(&mut header, path, content.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// An image layout with annotations for its only manifest.
fn layout(built: &BuiltImage, annotations: Value) -> Files {
    let mut entry = descriptor(built.media_type, &built.manifest);
    entry["annotations"] = annotations;
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
    let mut files = vec![(
        "oci-layout".to_owned(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    )];
    files.extend(built.blobs().map(|content| blob(content)));
    files.push(blob(&built.manifest));
    files.push(("index.json".to_owned(), index.to_string().into_bytes()));
    files
}

fn docker(built: &BuiltImage, tags: Value) -> Files {
    let config = format!("{}.json", Digest::sha256(&built.config).hex());
    let layers: Vec<String> = (0..built.layers.len())
        .map(|number| format!("layer{number}/layer.tar"))
        .collect();
    let manifest = json!([{"Config": config, "RepoTags": tags, "Layers": layers}]);
    let mut files = vec![
        ("manifest.json".to_owned(), manifest.to_string().into_bytes()),
        (config, built.config.clone()),
    ];
    files.extend(layers.into_iter().zip(built.layers.iter().cloned()));
    files
}

async fn import(node: &Node, bytes: Vec<u8>, default: Option<&str>) -> Result<Image, ImportError> {
    let mut images = node.store.import(Cursor::new(bytes), default).await?;
    assert_eq!(images.len(), 1);
    node.assert_ingest_is_empty().await;
    Ok((*images.remove(0)).clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_layout_is_imported_however_it_is_packed_and_ordered() {
    let built = image(&[tar(&[("a", "1")]), tar(&[("b", "2")])], Packing::Zstd);
    let files = layout(&built, json!({"io.containerd.image.name": "example.com/app:1"}));
    let reversed: Files = files.iter().rev().cloned().collect();
    for (files, packing) in [
        (&files, Packing::Plain),
        (&reversed, Packing::Gzip),
        (&files, Packing::Zstd),
    ] {
        let mut node = Node::new(Vec::new()).await;
        let imported = import(&node, pack(&archive(files), packing), Some("ignored:1"))
            .await
            .unwrap();
        assert_eq!(
            (imported.id.clone(), imported.tags.clone()),
            (built.id(), vec!["example.com/app:1".to_owned()])
        );
        assert_eq!(imported.digests, [format!("example.com/app@{}", built.digest())]);
        assert_eq!(node.read(&imported, "b").as_deref(), Some("2"));
        node.reopen().await;
        assert_eq!(
            node.store.get("example.com/app:1").map(|image| image.id.clone()),
            Some(built.id())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_archive_is_imported() {
    let node = Node::new(Vec::new()).await;
    let built = image(&[tar(&[("a", "1")]), tar(&[("b", "2")])], Packing::Plain);
    let mut files = docker(&built, json!(["busybox:1", "example.com/b:2"]));
    let imported = import(&node, archive(&files), None).await.unwrap();
    assert_eq!(imported.tags, ["docker.io/library/busybox:1", "example.com/b:2"]);
    assert!(imported.digests.is_empty());
    assert_eq!(node.read(&imported, "a").as_deref(), Some("1"));

    // A layer that comes twice is a symlink to the first.
    let twice = image(&[tar(&[("a", "1")]), tar(&[("a", "1")])], Packing::Plain);
    files = docker(&twice, json!(null));
    files.retain(|(path, _)| path != "layer1/layer.tar");
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder
        .append_link(&mut header, "layer1/layer.tar", "../layer0/layer.tar")
        .unwrap();
    let links = builder.into_inner().unwrap();
    let whole = [&links[..512], &archive(&files)].concat();
    let imported = import(&node, whole, Some("named/by:caller")).await.unwrap();
    assert_eq!(imported.tags, ["docker.io/named/by:caller"]);
    assert_eq!(node.store.lower_directories(&imported).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_comes_twice_is_what_it_was_last_and_no_other() {
    let node = Node::new(Vec::new()).await;
    let built = image(&[tar(&[("a", "1")]), tar(&[("b", "2")])], Packing::Gzip);
    let mut files = layout(&built, json!({"io.containerd.image.name": "example.com/app:1"}));
    let (index, _) = (files.pop().unwrap(), files.remove(0));
    files.insert(0, ("index.json".to_owned(), b"old".to_vec()));
    files.insert(1, index);
    let imported = import(&node, archive(&files), None).await.unwrap();
    assert_eq!(imported.id, built.id());
    assert_eq!(node.read(&imported, "b").as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_a_name_gets_the_caller_s_or_none() {
    let built = small("x");
    for (annotations, default, expected) in [
        (json!({}), Some("app:2"), vec!["docker.io/library/app:2"]),
        (
            json!({"org.opencontainers.image.ref.name": "latest"}),
            Some("app:2"),
            vec!["docker.io/library/app:2"],
        ),
        (
            json!({"org.opencontainers.image.ref.name": "e.com/a:3"}),
            Some("app:2"),
            vec!["e.com/a:3"],
        ),
        (
            json!({"org.opencontainers.image.ref.name": "latest"}),
            None,
            vec![],
        ),
    ] {
        let node = Node::new(Vec::new()).await;
        let imported = import(&node, archive(&layout(&built, annotations)), default)
            .await
            .unwrap();
        assert_eq!(imported.tags, expected);
        assert!(node.store.get(&imported.id).is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_in_a_layout_gives_the_image_of_this_platform() {
    let node = Node::new(Vec::new()).await;
    let (ours, other) = (small("ours"), small("other"));
    let nested = index(&[(&other, "s390x"), (&ours, architecture())], OCI_INDEX);
    let mut entry = descriptor(OCI_INDEX, &nested);
    entry["annotations"] = json!({"io.containerd.image.name": "example.com/app:1"});
    let top = json!({"schemaVersion": 2, "manifests": [entry]});
    // The other platform's blobs are left out, as `--platform` of the tools does.
    let mut files = vec![
        ("index.json".to_owned(), top.to_string().into_bytes()),
        blob(&nested),
        blob(&ours.manifest),
    ];
    files.extend(ours.blobs().map(|content| blob(content)));
    let imported = import(&node, archive(&files), None).await.unwrap();
    assert_eq!(node.read(&imported, "file").as_deref(), Some("ours"));
    assert_eq!(
        imported.digests,
        [format!("example.com/app@{}", Digest::sha256(&nested))]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_archive_has_no_more_layers_than_other_images() {
    let node = Node::new(Vec::new()).await;
    let layers = vec![tar(&[("a", "1")]); 500];
    let built = image(&layers, Packing::Plain);
    let mut files = docker(&built, json!(null));
    // All of them are one file.
    let manifest = String::from_utf8(files[0].1.clone()).unwrap();
    let first = "layer0/layer.tar";
    let manifest = (1..500).fold(manifest, |manifest, number| {
        manifest.replace(&format!("\"layer{number}/layer.tar\""), &format!("\"{first}\""))
    });
    files[0].1 = manifest.into_bytes();
    files.truncate(3);
    let error = import(&node, archive(&files), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{}", chain(&error));
    assert!(
        chain(&error).contains("more than 499 layers"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_cannot_be_used_say_why() {
    let node = Node::new(Vec::new()).await;
    let built = small("x");
    let whole = layout(&built, json!({}));
    let without = |name: &str| -> Files {
        whole
            .iter()
            .filter(|(path, _)| !path.contains(name))
            .cloned()
            .collect()
    };
    let layer = Digest::sha256(&built.layers[0]);
    let damaged: Files = whole
        .iter()
        .cloned()
        .map(|(path, mut content)| {
            if path.contains(layer.hex()) {
                let middle = content.len() / 2;
                content[middle] ^= 1;
            }
            (path, content)
        })
        .collect();
    let mut forged = without(Digest::sha256(&built.config).hex());
    forged.push((blob(&built.config).0, b"{}".to_vec()));
    let cut = archive(&whole);
    let cut = cut[..cut.len() - 2000].to_vec();
    for (bytes, kind, text) in [
        (
            archive(&without("index.json")),
            ErrorKind::Corrupt,
            "neither index.json nor manifest.json",
        ),
        (
            archive(&without(layer.hex())),
            ErrorKind::Corrupt,
            "the archive has no file \"blobs/sha256/",
        ),
        (
            archive(&damaged),
            ErrorKind::Corrupt,
            "is corrupt: digest mismatch",
        ),
        (archive(&forged), ErrorKind::Corrupt, "digest mismatch"),
        (cut, ErrorKind::Corrupt, "the archive ends in the middle"),
        (
            b"not an archive".repeat(100),
            ErrorKind::Corrupt,
            "malformed archive",
        ),
        (Vec::new(), ErrorKind::Corrupt, "not an archive of images"),
        (
            archive(&vec![("index.json".into(), b"{".to_vec())]),
            ErrorKind::Corrupt,
            "\"index.json\" of the archive",
        ),
        (
            archive(&docker(&built, json!(["NOT A NAME"]))),
            ErrorKind::Refused,
            "name for the image",
        ),
    ] {
        let error = import(&node, bytes, None).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", chain(&error));
        assert!(chain(&error).contains(text), "{text}: {}", chain(&error));
        node.assert_ingest_is_empty().await;
    }
    assert_eq!((node.layers(), node.store.list().len()), (0, 0));
}
