//! What a pull brings: from each kind of image, by each kind of name.

use std::os::unix::fs::PermissionsExt as _;

use auraed_image::{ErrorKind, LayerState};
use serde_json::json;

use crate::support::image::{
    DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Packing, architecture, build, image, index, pack,
    small, tar,
};
use crate::support::registry::{Nobody, Registry};
use crate::support::{Node, chain};

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_pulled_with_its_layers_and_configuration() {
    let registry = Registry::start().await;
    let layers = [
        tar(&[("a", "low"), ("etc/b", "kept")]),
        tar(&[("a", "high"), ("etc/.wh.c", "")]),
    ];
    for (tag, packing) in [
        ("gzip", Packing::Gzip),
        ("zstd", Packing::Zstd),
        ("plain", Packing::Plain),
    ] {
        let node = Node::new(Vec::new()).await;
        let built = image(&layers, packing);
        registry.add("team/app", tag, &built);
        let reference = registry.reference(&format!("team/app:{tag}"));
        let pulled = node.pull(&reference).await.unwrap();
        assert_eq!(pulled.id, built.id());
        assert_eq!(pulled.tags, std::slice::from_ref(&reference));
        assert_eq!(
            pulled.digests,
            [registry.reference(&format!("team/app@{}", built.digest()))]
        );
        let bytes: usize = built.blobs().map(Vec::len).sum();
        assert_eq!(pulled.size_bytes, bytes as u64);
        assert_eq!(
            (
                pulled.config.user.as_str(),
                pulled.config.working_directory.as_str()
            ),
            ("1000", "/srv")
        );
        assert_eq!(pulled.created_at.unwrap().to_string(), "2024-01-02T03:04:05Z");
        assert_eq!(node.read(&pulled, "a").as_deref(), Some("high"));
        assert_eq!(node.read(&pulled, "etc/b").as_deref(), Some("kept"));
        assert_eq!(node.store.lower_directories(&pulled).len(), 2);
        node.assert_ingest_is_empty().await;
        let mode = fs_err::metadata(node.images()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_is_pulled_without_a_tag() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    let built = small("x");
    registry.add_image("app", &built);
    for name in [
        format!("app@{}", built.digest()),
        format!("app:any@{}", built.digest()),
    ] {
        let pulled = node.pull(&registry.reference(&name)).await.unwrap();
        assert_eq!((pulled.tags.len(), pulled.digests.len()), (0, 1));
        assert_eq!(node.store.get(&registry.reference(&name)), Some(pulled));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_gives_the_image_of_this_platform() {
    let registry = Registry::start().await;
    for (tag, manifest_type, index_type) in [
        ("oci", OCI_MANIFEST, OCI_INDEX),
        ("docker", DOCKER_MANIFEST, DOCKER_LIST),
    ] {
        let node = Node::new(Vec::new()).await;
        let config = json!({});
        let other = build(
            &[tar(&[("file", "other")])],
            Packing::Gzip,
            "s390x",
            &config,
            manifest_type,
        );
        let ours = build(
            &[tar(&[("file", "ours")])],
            Packing::Gzip,
            architecture(),
            &config,
            manifest_type,
        );
        // The other's blobs are not there, as on a mirror that holds one platform.
        registry.add_image("app", &ours);
        let digest = registry.add_manifest(
            "app",
            &index(&[(&other, "s390x"), (&ours, architecture())], index_type),
        );
        registry.tag("app", tag, &digest);
        let pulled = node
            .pull(&registry.reference(&format!("app:{tag}")))
            .await
            .unwrap();
        assert_eq!(node.read(&pulled, "file").as_deref(), Some("ours"));
        assert_eq!(pulled.digests, [registry.reference(&format!("app@{digest}"))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_other_platforms_are_refused() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    let other = build(
        &[tar(&[("file", "x")])],
        Packing::Gzip,
        "s390x",
        &json!({}),
        OCI_MANIFEST,
    );
    registry.add("app", "single", &other);
    let digest = registry.add_manifest("app", &index(&[(&other, "s390x")], OCI_INDEX));
    registry.tag("app", "index", &digest);
    let single = node.pull(&registry.reference("app:single")).await.unwrap_err();
    assert_eq!(single.kind(), ErrorKind::Refused);
    assert!(
        chain(&single).contains("is made for linux/s390x"),
        "{}",
        chain(&single)
    );
    let indexed = node.pull(&registry.reference("app:index")).await.unwrap_err();
    assert_eq!(indexed.kind(), ErrorKind::NotFound);
    assert!(
        chain(&indexed).contains("no match for platform linux/"),
        "{}",
        chain(&indexed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_fetched_once_and_shared() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    let base = tar(&[("base", "x")]);
    registry.add(
        "a",
        "1",
        &image(&[base.clone(), tar(&[("a", "x")])], Packing::Gzip),
    );
    registry.add(
        "b",
        "1",
        &image(&[base.clone(), tar(&[("b", "x")])], Packing::Zstd),
    );
    let (_, states) = node.pull_states(&registry.reference("a:1")).await;
    assert_eq!(states, [LayerState::Done, LayerState::Done]);
    let (_, states) = node.pull_states(&registry.reference("b:1")).await;
    assert_eq!(states, [LayerState::Present, LayerState::Done]);
    assert_eq!(node.layers(), 3);
    let (_, states) = node.pull_states(&registry.reference("b:1")).await;
    assert_eq!(states, [LayerState::Present, LayerState::Present]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_image_has_many_names_and_a_tag_moves() {
    let (here, there) = tokio::join!(Registry::start(), Registry::start());
    let mut node = Node::new(Vec::new()).await;
    let (old, new) = (small("old"), small("new"));
    here.add("app", "1", &old);
    here.add("app", "2", &old);
    there.add("other", "1", &old);
    for reference in [
        here.reference("app:1"),
        here.reference("app:2"),
        there.reference("other:1"),
    ] {
        node.pull(&reference).await.unwrap();
    }
    let image = node.store.get(&old.id()).unwrap();
    assert_eq!(
        (node.store.list().len(), image.tags.len(), image.digests.len()),
        (1, 3, 2)
    );

    here.add("app", "1", &new);
    node.pull(&here.reference("app:1")).await.unwrap();
    node.reopen().await;
    assert_eq!(node.store.get(&here.reference("app:1")).unwrap().id, new.id());
    assert_eq!(node.store.get(&here.reference("app:2")).unwrap().id, old.id());
    assert_eq!(node.store.list().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_survives_a_restart_and_is_forgotten_without_its_layers() {
    let registry = Registry::start().await;
    let mut node = Node::new(Vec::new()).await;
    registry.add("app", "1", &small("x"));
    let image = node.pull(&registry.reference("app:1")).await.unwrap();
    fs_err::create_dir_all(node.images().join("ingest/9/root")).unwrap();
    fs_err::create_dir_all(node.images().join("layers/sha256-stray/root")).unwrap();
    node.reopen().await;
    assert_eq!(node.store.get(&registry.reference("app:1")), Some(image.clone()));
    assert_eq!(node.layers(), 1);
    node.assert_ingest_is_empty().await;

    fs_err::remove_dir_all(&node.store.lower_directories(&image)[0]).unwrap();
    node.reopen().await;
    assert!(node.store.list().is_empty() && node.index.rows.lock().unwrap().is_empty());
    let again = node.pull(&registry.reference("app:1")).await.unwrap();
    assert_eq!(node.read(&again, "file").as_deref(), Some("x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_link_shows_what_another_layer_has_in_every_image_that_has_both() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    header.set_mode(0o644);
    builder
        .append_link(&mut header, "bin/link", "bin/program")
        .unwrap();
    let linking = builder.into_inner().unwrap();
    for (tag, content) in [("one", "first"), ("two", "second")] {
        let built = image(
            &[tar(&[("bin/program", content)]), linking.clone()],
            Packing::Gzip,
        );
        registry.add("app", tag, &built);
        let pulled = node
            .pull(&registry.reference(&format!("app:{tag}")))
            .await
            .unwrap();
        assert_eq!(node.read(&pulled, "bin/link").as_deref(), Some(content));
    }
    assert_eq!(node.layers(), 5, "three layers, and one more for each image");

    registry.add("app", "none", &image(&[linking], Packing::Gzip));
    let error = node.pull(&registry.reference("app:none")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        chain(&error).contains("\"bin/program\" leads to no file"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_layers_take_is_known_without_looking() {
    let registry = Registry::start().await;
    let mut node = Node::new(Vec::new()).await;
    let files: Vec<(String, String)> = (0..200_usize)
        .map(|n| (format!("d{}/f{n}", n % 7), "x".repeat(n * 100)))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_str()))
        .collect();
    let layers = [tar(&files), tar(&[("d1/f1", "again"), ("d1/f1", "and again")])];
    registry.add("app", "1", &image(&layers, Packing::Gzip));
    assert_eq!(node.store.usage(), auraed_image::Usage::default());
    let image = node.pull(&registry.reference("app:1")).await.unwrap();
    let known = node.store.usage();
    let looked = node.store.lower_directories(&image).into_iter();
    let looked: auraed_image::Usage = looked
        .map(|path| auraed_image::Usage::measure(&path, 10_000).unwrap())
        .sum();
    assert_eq!(known, looked);
    node.reopen().await;
    assert_eq!(node.store.usage(), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_layers_has_an_empty_root() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    registry.add("app", "1", &image(&[], Packing::Gzip));
    let image = node.pull(&registry.reference("app:1")).await.unwrap();
    let directories = node.store.lower_directories(&image);
    assert_eq!(directories.len(), 1);
    assert_eq!(fs_err::read_dir(&directories[0]).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    registry.add("app", "1", &small("x"));
    for reference in ["app:2", "other:1", &format!("app@sha256:{}", "1".repeat(64))] {
        let error = node.pull(&registry.reference(reference)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(chain(&error).ends_with(": not found"), "{}", chain(&error));
    }
    assert!(node.store.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_is_unavailable() {
    let node = Node::new(Vec::new()).await;
    let nobody = Nobody::new();
    let host = nobody.host();
    let error = node.pull(&format!("{host}/app:1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = chain(&error);
    assert!(
        text.starts_with(&format!(
            "failed to pull image \"{host}/app:1\": failed to resolve"
        )),
        "{text}"
    );
    assert!(
        text.ends_with(&format!("dial tcp {host}: connect: connection refused")),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_content_is_corrupt_and_leaves_nothing() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    let built = small(&"content ".repeat(1000));
    registry.add("app", "1", &built);
    let layer = auraed_image::Digest::sha256(&built.layers[0]);
    let whole = fs_err::read(registry.blob(&layer)).unwrap();
    let damage = |at: usize| {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        damaged
    };
    for damaged in [damage(1), damage(whole.len() / 2), damage(whole.len() - 1)] {
        fs_err::write(registry.blob(&layer), damaged).unwrap();
        let error = node.pull(&registry.reference("app:1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", chain(&error));
        let expected = format!("layer {layer} is corrupt: digest mismatch, expected {layer}");
        assert!(chain(&error).contains(&expected), "{}", chain(&error));
        node.assert_ingest_is_empty().await;
        assert_eq!(node.layers(), 0);
    }
    fs_err::write(registry.blob(&layer), whole).unwrap();
    node.pull(&registry.reference("app:1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_with_another_diff_id_is_corrupt() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    let mut built = small("x");
    let mut config: serde_json::Value = serde_json::from_slice(&built.config).unwrap();
    config["rootfs"]["diff_ids"] = json!([format!("sha256:{}", "1".repeat(64))]);
    let mut manifest: serde_json::Value = serde_json::from_slice(&built.manifest).unwrap();
    built.config = serde_json::to_vec(&config).unwrap();
    manifest["config"] =
        crate::support::image::descriptor("application/vnd.oci.image.config.v1+json", &built.config);
    built.manifest = serde_json::to_vec(&manifest).unwrap();
    registry.add("app", "1", &built);
    let error = node.pull(&registry.reference("app:1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(chain(&error).contains("diff-id"), "{}", chain(&error));
    assert_eq!(node.layers(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_layer_is_refused_by_name() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    header.set_mode(0o644);
    header.set_link_name_literal("../../etc/passwd").unwrap();
    builder.append_data(&mut header, "stolen", &b""[..]).unwrap();
    let hostile = builder.into_inner().unwrap();
    registry.add(
        "app",
        "1",
        &image(&[tar(&[("fine", "x")]), hostile.clone()], Packing::Gzip),
    );
    let error = node.pull(&registry.reference("app:1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let text = chain(&error);
    let layer = auraed_image::Digest::sha256(&pack(&hostile, Packing::Gzip));
    assert!(
        text.contains(&format!(
            "layer {layer} cannot be unpacked: entry \"stolen\" is refused"
        )),
        "{text}"
    );
    assert!(node.store.list().is_empty());
    node.assert_ingest_is_empty().await;
}
