//! Mirrors are asked in order, the registry last, for each part of an image.

use auraed_image::{Digest, ErrorKind, RegistryConfig};

use crate::support::image::{Packing, image, large_tar, small, tar};
use crate::support::registry::{Nobody, Registry};
use crate::support::server::{Reply, Server};
use crate::support::{Node, chain};

fn mirrored(host: &str, mirrors: &[String]) -> Vec<RegistryConfig> {
    vec![RegistryConfig {
        host: host.to_owned(),
        mirrors: mirrors.to_vec(),
        ..RegistryConfig::default()
    }]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_stands_in_and_the_image_keeps_its_name() {
    let mirror = Registry::start().await;
    let built = small("x");
    mirror.add("library/busybox", "1", &built);
    let away = Nobody::new();
    let node = Node::new(mirrored("docker.io", &[away.host(), mirror.host()])).await;
    let pulled = node.pull("busybox:1").await.unwrap();
    assert_eq!(pulled.tags, ["docker.io/library/busybox:1"]);
    assert_eq!(
        pulled.digests,
        [format!("docker.io/library/busybox@{}", built.digest())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_mirrors_do_not_have_comes_from_the_registry() {
    let (registry, mirror) = tokio::join!(Registry::start(), Registry::start());
    let built = image(&[tar(&[("a", "1")]), tar(&[("b", "2")])], Packing::Gzip);
    registry.add("app", "1", &built);
    let node = Node::new(mirrored(&registry.host(), &[mirror.host()])).await;
    node.pull(&registry.reference("app:1")).await.unwrap();

    // A mirror that has the manifest and lost a layer.
    let other = image(&[tar(&[("c", "3")]), tar(&[("d", "4")])], Packing::Gzip);
    registry.add("app", "2", &other);
    mirror.add("app", "2", &other);
    fs_err::remove_file(mirror.blob(&Digest::sha256(&other.layers[1]))).unwrap();
    let pulled = node.pull(&registry.reference("app:2")).await.unwrap();
    assert_eq!(node.read(&pulled, "d").as_deref(), Some("4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_a_mirror_has_wrong_comes_from_the_registry() {
    let registry = Registry::start().await;
    let built = image(&[large_tar(300_000)], Packing::Plain);
    registry.add("app", "1", &built);
    let (manifest, config, id) = (built.manifest.clone(), built.config.clone(), built.id());
    let layer = built.layers[0].clone();
    // One byte is another; there is one byte more.
    let mut flipped = layer.clone();
    flipped[200_000] ^= 1;
    for wrong in [flipped, [&layer[..], b"x"].concat()] {
        let (manifest, config, id) = (manifest.clone(), config.clone(), id.clone());
        let mirror = Server::start(move |request| match request.line() {
            line if line.contains("/manifests/") => Reply::ok(manifest.clone()),
            line if line.contains(&id) => Reply::ok(config.clone()),
            _ => Reply::ok(wrong.clone()),
        })
        .await;
        let node = Node::new(mirrored(&registry.host(), &[mirror.host()])).await;
        let pulled = node.pull(&registry.reference("app:1")).await.unwrap();
        assert_eq!(mirror.count("/blobs/"), 2);
        let file = node.store.lower_directories(&pulled)[0].join("large");
        assert_eq!(fs_err::metadata(file).unwrap().len(), 300_000);
        node.assert_ingest_is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_s_answer_counts_unless_only_a_mirror_could_be_asked() {
    let (registry, mirror) = tokio::join!(Registry::start(), Registry::start());
    let nobody = Nobody::new();
    let node = Node::new(mirrored(&registry.host(), &[nobody.host()])).await;
    let error = node.pull(&registry.reference("app:1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let away = nobody.host();
    let node = Node::new(mirrored(&away, &[mirror.host()])).await;
    let error = node.pull(&format!("{away}/app:1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = chain(&error);
    assert!(
        text.contains("not found (mirror 127.0.0.1:") && text.ends_with("connection refused"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_told_the_registry_and_may_have_a_prefix() {
    let built = small("x");
    let manifest = built.manifest.clone();
    let (config, layer, id) = (built.config.clone(), built.layers[0].clone(), built.id());
    let mirror = Server::start(move |request| match request.line() {
        line if line.contains("/manifests/") => Reply::ok(manifest.clone()),
        line if line.contains(&id) => Reply::ok(config.clone()),
        _ => Reply::ok(layer.clone()),
    })
    .await;
    let address = format!("http://{}/proxy/hub", mirror.host());
    let node = Node::new(mirrored("docker.io", &[address])).await;
    node.pull("busybox:1").await.unwrap();
    let first = mirror.requests()[0].line().to_owned();
    assert_eq!(
        first,
        "GET /v2/proxy/hub/library/busybox/manifests/1?ns=docker.io"
    );
}
