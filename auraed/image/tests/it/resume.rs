//! Pulls that go on where another one stopped.

use std::sync::atomic::{AtomicBool, Ordering};

use auraed_image::{Digest, ErrorKind};

use crate::support::image::{BuiltImage, Packing, image, large_tar, tar};
use crate::support::registry::Registry;
use crate::support::relay::Relay;
use crate::support::server::{Reply, Request, Server};
use crate::support::{Node, chain, parse, watch};

const MIB: u64 = 1024 * 1024;
/// Everything but the layer: documents, and the heads of answers.
const REST: u64 = 64 * 1024;

fn large() -> BuiltImage {
    image(&[large_tar(40 * 1024 * 1024)], Packing::Plain)
}

fn partials(node: &Node) -> Vec<(String, u64)> {
    let entries = fs_err::read_dir(node.images().join("partial")).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, entry.metadata().unwrap().len())
        })
        .collect()
}

async fn until_no_partial_is_left(node: &Node) {
    let directory = node.images().join("partial");
    watch::until(&directory, "no part is left", || partials(node).is_empty()).await;
}

/// Pulls until so many bytes are kept, then is dropped.
async fn interrupted(node: &Node, reference: &str, kept: u64) {
    let (store, reference) = (node.store.clone(), parse(reference));
    let pulling = tokio::spawn(async move {
        let (progress, _) = tokio::sync::mpsc::unbounded_channel();
        store.pull(&reference, &[], progress).await
    });
    let directory = node.images().join("partial");
    watch::until(&directory, "the beginning is kept", || {
        partials(node).iter().any(|(_, length)| *length >= kept)
    })
    .await;
    pulling.abort();
    assert!(pulling.await.unwrap_err().is_cancelled());
    node.assert_ingest_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_on_where_a_cancelled_one_stopped() {
    let registry = Registry::start().await;
    let built = large();
    registry.add("app", "1", &built);
    let relay = Relay::start(registry.port).await;
    let reference = relay.reference("app:1");
    let mut node = Node::new(Vec::new()).await;
    let size = built.layers[0].len() as u64;

    relay.stop_after(25 * MIB);
    interrupted(&node, &reference, 24 * MIB).await;
    let layer = Digest::sha256(&built.layers[0]);
    let [(name, kept)] = <[_; 1]>::try_from(partials(&node)).unwrap();
    assert_eq!(name, layer.file_name());
    assert!(node.store.usage().bytes >= kept);

    // Also by the daemon after this one.
    node.reopen().await;
    relay.go_on();
    let before = relay.carried();
    let pulled = node.pull(&reference).await.unwrap();
    let carried = relay.carried() - before;
    assert!(
        carried <= size - kept + REST,
        "{carried} bytes, {kept} of {size} were here"
    );
    assert_eq!(node.store.lower_directories(&pulled).len(), 1);
    let file = node.store.lower_directories(&pulled)[0].join("large");
    assert_eq!(fs_err::metadata(file).unwrap().len(), 40 * MIB);
    until_no_partial_is_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_costs_nothing_that_came_over_it() {
    let registry = Registry::start().await;
    let built = large();
    registry.add("app", "1", &built);
    let relay = Relay::start(registry.port).await;
    let node = Node::new(Vec::new()).await;
    relay.break_after(&[5 * MIB, 6 * MIB, 20 * MIB, 39 * MIB]);
    node.pull(&relay.reference("app:1")).await.unwrap();
    let size = built.layers[0].len() as u64;
    // What the node's side of a broken connection had not read yet comes again.
    let most = size + REST + 4 * MIB;
    assert!(relay.carried() <= most, "{} bytes of {size}", relay.carried());
    until_no_partial_is_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_kept_of_large_layers_alone() {
    let registry = Registry::start().await;
    let layers = [large_tar(15 * 1024 * 1024), tar(&[("small", "x")])];
    registry.add("app", "1", &image(&layers, Packing::Plain));
    let relay = Relay::start(registry.port).await;
    let node = Node::new(Vec::new()).await;
    relay.stop_after(10 * MIB);
    let (store, reference) = (node.store.clone(), parse(&relay.reference("app:1")));
    let (progress, mut steps) = tokio::sync::mpsc::unbounded_channel();
    let pulling = tokio::spawn(async move { store.pull(&reference, &[], progress).await });
    while steps.recv().await.is_some_and(|step| step.done_bytes < 5 * MIB) {}
    pulling.abort();
    let _ = pulling.await;
    node.assert_ingest_is_empty().await;
    assert_eq!(partials(&node), []);
}

/// Serves an image of one large layer, with an answer of the test's own for the layer.
async fn serve(
    built: &BuiltImage,
    layer: impl Fn(&Request, &[u8]) -> Reply + Send + Sync + 'static,
) -> Server {
    let (built, id) = (built.clone(), built.id());
    Server::start(move |request| match request.line() {
        line if line.contains("/manifests/") => Reply::ok(built.manifest.clone()),
        line if line.contains(&id) => Reply::ok(built.config.clone()),
        _ => layer(request, &built.layers[0]),
    })
    .await
}

/// Puts a part there as a machine that crashed may have left it.
fn leave(node: &Node, built: &BuiltImage, bytes: &[u8]) {
    let name = Digest::sha256(&built.layers[0]).file_name();
    fs_err::write(node.images().join("partial").join(name), bytes).unwrap();
}

/// The header of a file that a layer may not have.
fn outside() -> [u8; 512] {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..9].copy_from_slice(b"../passwd");
    header.set_size(0);
    header.set_cksum();
    *header.as_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_wrong_is_found_out_and_costs_one_more_fetch() {
    let built = large();
    let server = serve(&built, |request, layer| match request.offset() {
        Some(offset) => Reply::part(layer, offset),
        None => Reply::ok(layer),
    })
    .await;
    let mut node = Node::new(Vec::new()).await;
    let zeros = vec![0; 20 * 1024 * 1024];
    let mut flipped = built.layers[0][..20 * 1024 * 1024].to_vec();
    flipped[10_000_000] ^= 1;
    // What no layer may hold is no part of this one either.
    let mut refused = zeros.clone();
    refused[..512].copy_from_slice(&outside());
    for wrong in [zeros, flipped, refused] {
        leave(&node, &built, &wrong);
        node.reopen().await;
        let before = server.offsets().len();
        let image = node.pull(&server.reference("app:1")).await.unwrap();
        assert_eq!(server.offsets()[before..], [wrong.len()]);
        until_no_partial_is_left(&node).await;
        node.store
            .remove(&image.id, auraed_image::WhileUsed::Refuse, |_| false)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_whole_needs_no_registry() {
    let built = large();
    let server = serve(&built, |_, layer| Reply::ok(layer)).await;
    let mut node = Node::new(Vec::new()).await;
    leave(&node, &built, &built.layers[0]);
    node.reopen().await;
    node.pull(&server.reference("app:1")).await.unwrap();
    assert_eq!(server.count("/blobs/"), 1, "the configuration alone");
    until_no_partial_is_left(&node).await;

    // One that is longer than its blob is none.
    let mut other = Node::new(Vec::new()).await;
    leave(&other, &built, &[&built.layers[0][..], b"more"].concat());
    other.reopen().await;
    other.pull(&server.reference("app:1")).await.unwrap();
    assert_eq!(server.count("/blobs/"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_know_no_ranges_or_lie_about_them_are_read_from_the_start() {
    let built = large();
    let half = built.layers[0][..20 * 1024 * 1024].to_vec();
    // It answers 200, 206 with another range, 206 without one, 416, 206 with other bytes.
    let answers: [fn(&[u8], usize) -> Reply; 5] = [
        |layer, _| Reply::ok(layer),
        |layer, offset| Reply::part(layer, offset - 1000),
        |layer, offset| Reply {
            status: "206 Partial Content",
            ..Reply::ok(&layer[offset..])
        },
        |_, _| Reply::status("416 Range Not Satisfiable"),
        |layer, offset| {
            let mut part = Reply::part(layer, offset);
            part.body[0] ^= 1;
            part
        },
    ];
    for answer in answers {
        let server = serve(&built, move |request, layer| match request.offset() {
            Some(offset) => answer(layer, offset),
            None => Reply::ok(layer),
        })
        .await;
        let mut node = Node::new(Vec::new()).await;
        leave(&node, &built, &half);
        node.reopen().await;
        node.pull(&server.reference("app:1")).await.unwrap();
        assert_eq!(server.offsets(), [half.len()]);
        until_no_partial_is_left(&node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_goes_with_a_blob_that_is_wrong_and_stays_with_a_registry_that_is_away() {
    let built = large();
    let away = std::sync::Arc::new(AtomicBool::new(true));
    let is_away = away.clone();
    let server = serve(&built, move |_, layer| {
        if is_away.load(Ordering::Relaxed) {
            return Reply::status("503 Service Unavailable");
        }
        let mut wrong = layer.to_vec();
        wrong[30_000_000] ^= 1;
        Reply::ok(wrong)
    })
    .await;
    let mut node = Node::new(Vec::new()).await;
    leave(&node, &built, &built.layers[0][..20 * 1024 * 1024]);
    node.reopen().await;
    let error = node.pull(&server.reference("app:1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", chain(&error));
    assert_eq!(partials(&node).len(), 1);

    away.store(false, Ordering::Relaxed);
    let error = node.pull(&server.reference("app:1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", chain(&error));
    assert!(chain(&error).contains("digest mismatch"), "{}", chain(&error));
    until_no_partial_is_left(&node).await;
    assert_eq!(node.layers(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_told_to_keeps_no_parts() {
    let built = large();
    let server = serve(&built, |_, layer| Reply::ok(layer).cut(20_000_000)).await;
    let mut node = Node::new(Vec::new()).await;
    node.config.partial_layers_bytes = 0;
    node.reopen().await;
    let reference = server.reference("app:1");
    let pulling = node.pull(&reference);
    let watching = server.until_asked("/blobs/", 3);
    tokio::select! {
        _ = pulling => {}
        () = watching => {}
    }
    assert_eq!(partials(&node), []);
}
