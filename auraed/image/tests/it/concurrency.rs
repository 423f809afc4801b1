//! Many who want the same at once, and who change their mind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use auraed_image::{Image, LayerState, Removed, WhileUsed};

use crate::support::image::{Packing, image, large_tar, small, tar};
use crate::support::registry::Registry;
use crate::support::server::{Reply, Server};
use crate::support::{Node, credentials, parse, watch};

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
    node.assert_ingest_is_empty().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_pulled_while_it_is_removed_is_whole() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    for (name, tag) in [("app", "1"), ("other", "1"), ("other", "2")] {
        registry.add(name, tag, &small(name));
        node.pull(&registry.reference(&format!("{name}:{tag}")))
            .await
            .unwrap();
    }
    let (app, other) = (registry.reference("app:1"), registry.reference("other:2"));
    // A change that takes long, then the removal, then the pull, which still sees the image.
    let gate = node.index.gate.lock().await;
    let mut changing = Box::pin(node.store.remove(&other, WhileUsed::Refuse, |_| false));
    assert!(futures_util::poll!(&mut changing).is_pending());
    let mut removing = Box::pin(node.store.remove(&app, WhileUsed::Refuse, |_| false));
    assert!(futures_util::poll!(&mut removing).is_pending());
    let (store, reference) = (node.store.clone(), parse(&app));
    let (progress, mut steps) = tokio::sync::mpsc::unbounded_channel();
    let pulling = tokio::spawn(async move { store.pull(&reference, &[], progress).await });
    let step = steps.recv().await.unwrap();
    assert_eq!(step.state, LayerState::Present);
    drop(gate);
    changing.await.unwrap();
    removing.await.unwrap();
    let pulled = pulling.await.unwrap().unwrap();
    // The removal's work is over when this one's is.
    node.store
        .remove(&registry.reference("other:1"), WhileUsed::Refuse, |_| false)
        .await
        .unwrap();
    assert_eq!(node.read(&pulled, "file").as_deref(), Some("app"));
    assert_eq!(node.store.get(&app).unwrap().tags, [app]);
    assert_eq!(node.layers(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_nobody_waits_for_is_not_half_done() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    registry.add("app", "1", &small("x"));
    let app = registry.reference("app:1");
    node.pull(&app).await.unwrap();
    let gate = node.index.gate.lock().await;
    let mut removing = Box::pin(node.store.remove(&app, WhileUsed::Refuse, |_| false));
    assert!(futures_util::poll!(&mut removing).is_pending());
    drop(removing);
    drop(gate);
    // It is over when the next one has its turn.
    node.store.sweep(|_| true).await.unwrap();
    assert!(node.store.get(&app).is_none());
    assert!(node.index.rows.lock().unwrap().is_empty());
    let layers = node.images().join("layers");
    watch::until(&layers, "the layer is gone", || node.layers() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_somebody_begins_to_use_while_it_is_removed_stays() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    registry.add("app", "1", &small("x"));
    let app = registry.reference("app:1");
    let image = node.pull(&app).await.unwrap();
    for (while_used, removed) in [
        (WhileUsed::Refuse, None),
        (WhileUsed::Keep, Some(Removed::Retired)),
    ] {
        let claimed = AtomicBool::new(false);
        // Who claims it after the first look finds that it is gone, or is seen by the second.
        let in_use = |image: &Image| {
            if !claimed.swap(true, Ordering::Relaxed) {
                return false;
            }
            assert!(node.store.used(&image.id).is_none());
            true
        };
        assert_eq!(node.store.remove(&app, while_used, in_use).await.ok(), removed);
        assert!(node.store.used(&image.id).is_some());
        assert_eq!((node.layers(), node.index.rows.lock().unwrap().len()), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_daemon_did_not_sync_the_next_one_does() {
    let registry = Registry::start().await;
    let mut node = Node::new(Vec::new()).await;
    registry.add("app", "1", &small("x"));
    let image = node.pull(&registry.reference("app:1")).await.unwrap();
    let layer = node
        .images()
        .join("layers")
        .join(image.layers[0].diff_id.file_name());
    let synced = || !layer.join("unsynced").exists();
    watch::until(&layer, "the pull's own sync", synced).await;
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs_err::write(layer.join("unsynced"), boot.trim()).unwrap();
    node.reopen().await;
    assert_eq!(node.store.list().len(), 1);
    watch::until(&layer, "the next daemon's sync", synced).await;
}
