//! Many who want the same at once, and who change their mind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use auraed_image::WhileUsed;

use crate::support::image::{Packing, image, large_tar, small, tar};
use crate::support::registry::Registry;
use crate::support::server::{Reply, Server};
use crate::support::{Node, credentials, eventually, parse};

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pulls_of_one_image_are_one() {
    let built = image(&[large_tar(1_000_000)], Packing::Plain);
    let (manifest, config, layer, id) = (
        built.manifest.clone(),
        built.config.clone(),
        built.layers[0].clone(),
        built.id(),
    );
    let server = Server::start(move |request| match request.line() {
        line if line.contains("/manifests/") => Reply::ok(manifest.clone()),
        line if line.contains(&id) => Reply::ok(config.clone()),
        _ => Reply::ok(layer.clone()),
    })
    .await;
    let node = Node::new(Vec::new()).await;
    let reference = server.reference("app:1");
    let pulls = (0..8).map(|_| node.pull(&reference));
    let images = futures_util::future::join_all(pulls).await;
    assert!(
        images
            .iter()
            .all(|image| image.as_ref().unwrap().id == built.id())
    );
    assert_eq!((server.count("/manifests/"), server.count("/blobs/")), (1, 2));

    // Who has other credentials asks for themself; the layer is here.
    let other = credentials("", "somebody", "else");
    let (mine, theirs) = tokio::join!(
        node.pull(&reference),
        node.pull_as(&reference, std::slice::from_ref(&other))
    );
    assert!(mine.is_ok() && theirs.is_ok());
    assert_eq!((server.count("/manifests/"), server.count("/blobs/")), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_with_a_common_layer_fetch_it_once() {
    let base = large_tar(1_000_000);
    let images: Vec<_> = (0..4)
        .map(|number| {
            image(
                &[base.clone(), tar(&[("n", &number.to_string())])],
                Packing::Plain,
            )
        })
        .collect();
    let serving = images.clone();
    let server = Server::start(move |request| {
        let line = request.line();
        let number = line.rsplit('/').next().and_then(|tag| tag.parse::<usize>().ok());
        if let Some(number) = number {
            return Reply::ok(serving[number].manifest.clone());
        }
        let mut blobs = serving.iter().flat_map(|image| image.blobs());
        let blob = blobs.find(|blob| line.contains(auraed_image::Digest::sha256(blob).as_str()));
        blob.map_or(Reply::status("404 Not Found"), |blob| Reply::ok(blob.clone()))
    })
    .await;
    let node = Node::new(Vec::new()).await;
    let references: Vec<_> = (0..4)
        .map(|number| server.reference(&format!("app:{number}")))
        .collect();
    let pulled =
        futures_util::future::join_all(references.iter().map(|reference| node.pull(reference))).await;
    assert!(pulled.iter().all(Result::is_ok));
    assert_eq!(server.count(auraed_image::Digest::sha256(&base).as_str()), 1);
    assert_eq!(node.layers(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_layer_is_fetched_once_for_callers_with_different_credentials() {
    let base = large_tar(4_000_000);
    let images: Vec<_> = ["ada", "bob"]
        .map(|name| image(&[base.clone(), tar(&[("n", name)])], Packing::Plain))
        .into();
    let serving = images.clone();
    // Each of the two may have one of the images.
    let server = Server::start(move |request| {
        let index = usize::from(request.line().contains("/bob/"));
        let basic = ["YWRhOngx", "Ym9iOngy"][index];
        if request.header("authorization") != Some(&format!("Basic {basic}")) {
            return Reply::status("401 Unauthorized").header("www-authenticate", "Basic realm=\"x\"");
        }
        let image = &serving[index];
        if request.line().contains("/manifests/") {
            return Reply::ok(image.manifest.clone());
        }
        let mut blobs = image.blobs();
        let wanted = |blob: &&Vec<u8>| {
            request
                .line()
                .contains(auraed_image::Digest::sha256(blob).as_str())
        };
        blobs
            .find(wanted)
            .map_or(Reply::status("404 Not Found"), |blob| Reply::ok(blob.clone()))
    })
    .await;
    let node = Node::new(Vec::new()).await;
    let (ada, bob) = (
        [credentials(&server.host(), "ada", "x1")],
        [credentials(&server.host(), "bob", "x2")],
    );
    let (adas, bobs) = (server.reference("ada/app:1"), server.reference("bob/app:1"));
    let pulls = tokio::join!(
        node.pull_as(&adas, &ada),
        node.pull_as(&bobs, &bob),
        node.pull_as(&adas, &bob),
        node.pull_as(&bobs, &ada)
    );
    assert_eq!(pulls.0.unwrap().id, images[0].id());
    assert_eq!(pulls.1.unwrap().id, images[1].id());
    assert!(pulls.2.is_err() && pulls.3.is_err());
    // Asked without a name and a password first, then with them.
    let fetched = server
        .requests()
        .iter()
        .filter(|request| {
            request.header("authorization").is_some()
                && request
                    .line()
                    .contains(auraed_image::Digest::sha256(&base).as_str())
        })
        .count();
    assert_eq!(fetched, 1);
    assert_eq!(node.layers(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_pull_is_cancelled_and_leaves_nothing() {
    let built = image(&[large_tar(2_000_000)], Packing::Plain);
    let (manifest, config, layer, id) = (
        built.manifest.clone(),
        built.config.clone(),
        built.layers[0].clone(),
        built.id(),
    );
    let whole = Arc::new(AtomicBool::new(false));
    let serve_whole = whole.clone();
    let server = Server::start(move |request| match request.line() {
        line if line.contains("/manifests/") => Reply::ok(manifest.clone()),
        line if line.contains(&id) => Reply::ok(config.clone()),
        _ if serve_whole.load(Ordering::Relaxed) => Reply::ok(layer.clone()),
        // Breaks off at once, so that the pull is in a pause between two tries.
        _ => Reply::ok(layer.clone()).cut(1_000_000),
    })
    .await;
    let node = Node::new(Vec::new()).await;
    let reference = parse(&server.reference("app:1"));
    let (progress, mut steps) = tokio::sync::mpsc::unbounded_channel();
    let store = node.store.clone();
    let pulling = tokio::spawn(async move { store.pull(&reference, &[], progress).await });
    while steps.recv().await.is_some_and(|step| step.done_bytes == 0) {}
    pulling.abort();
    assert!(pulling.await.unwrap_err().is_cancelled());
    let ingest = node.images().join("ingest");
    eventually("the staging directory is removed", || {
        fs_err::read_dir(&ingest).unwrap().count() == 0
    })
    .await;
    assert_eq!(node.layers(), 0);
    whole.store(true, Ordering::Relaxed);
    node.pull(&server.reference("app:1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_and_pulling_at_once_leaves_whole_images() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    let base = tar(&[("base", "x")]);
    for number in 0..4 {
        registry.add(
            &format!("app{number}"),
            "1",
            &image(&[base.clone(), tar(&[("n", &number.to_string())])], Packing::Gzip),
        );
    }
    let work = (0..4).map(|number| {
        let (node, registry) = (&node, &registry);
        async move {
            for _ in 0..10 {
                let reference = registry.reference(&format!("app{number}:1"));
                let image = node.pull(&reference).await.unwrap();
                assert_eq!(node.read(&image, "base").as_deref(), Some("x"));
                assert_eq!(node.read(&image, "n"), Some(number.to_string()));
                node.store
                    .remove(&reference, WhileUsed::Refuse, |_| false)
                    .await
                    .unwrap();
            }
        }
    });
    futures_util::future::join_all(work).await;
    assert!(node.store.list().is_empty());
    let last = registry.reference("app0:1");
    registry.add("app0", "2", &small("y"));
    node.pull(&last).await.unwrap();
    node.store
        .remove(&last, WhileUsed::Refuse, |_| false)
        .await
        .unwrap();
    assert_eq!(node.layers(), 0);
    node.assert_ingest_is_empty().await;
}
