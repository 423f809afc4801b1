//! Registries that break off, send too much, or lie.

use std::sync::atomic::{AtomicUsize, Ordering};

use auraed_image::ErrorKind;

use crate::support::image::{BuiltImage, Packing, image, large_tar, small};
use crate::support::server::{Reply, Request, Server};
use crate::support::{Node, chain};

/// Serves an image, with another answer where `layer` gives one.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_transfer_is_taken_up_where_it_broke() {
    let built = image(&[large_tar(3_000_000)], Packing::Plain);
    let server = serve(&built, |request, layer| {
        let range = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes="));
        let start = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
        let rest = match start {
            0 => Reply::ok(layer),
            _ => Reply::part(layer, start),
        };
        rest.cut(1_000_000)
    })
    .await;
    let node = Node::new(Vec::new()).await;
    node.pull(&server.reference("app:1")).await.unwrap();
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter_map(|request| request.header("range").map(str::to_owned))
        .collect();
    assert!(
        ranges.len() >= 2 && ranges.iter().all(|range| range.ends_with('-')),
        "{ranges:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_ranges_is_read_again_from_the_start() {
    let built = image(&[large_tar(2_000_000)], Packing::Plain);
    let asked = AtomicUsize::new(0);
    let server = serve(&built, move |_, layer| {
        let whole = Reply::ok(layer);
        if asked.fetch_add(1, Ordering::Relaxed) == 0 {
            whole.cut(1_000_000)
        } else {
            whole
        }
    })
    .await;
    Node::new(Vec::new())
        .await
        .pull(&server.reference("app:1"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_never_gets_on_is_given_up() {
    let built = small("x");
    let server = serve(&built, |_, layer| Reply::ok(layer).cut(0)).await;
    let node = Node::new(Vec::new()).await;
    let error = node.pull(&server.reference("app:1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", chain(&error));
    assert!(
        chain(&error).contains("broke off after 0 bytes"),
        "{}",
        chain(&error)
    );
    // The configuration, and five tries.
    assert_eq!(server.count("/blobs/"), 6);
    node.assert_ingest_is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_another_length_is_corrupt() {
    let built = small("x");
    let server = serve(&built, |_, layer| Reply::ok([layer, b"more"].concat())).await;
    let error = Node::new(Vec::new())
        .await
        .pull(&server.reference("app:1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(chain(&error).contains("bytes, expected"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_without_end_is_not_read() {
    let server = Server::start(|_| Reply::ok(vec![b' '; 5 * 1024 * 1024])).await;
    let error = Node::new(Vec::new())
        .await
        .pull(&server.reference("app:1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        chain(&error).contains("larger than 4194304 bytes"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_not_what_its_digest_says_is_corrupt() {
    let server = serve(&small("x"), |_, layer| Reply::ok(layer)).await;
    let reference = server.reference(&format!("app@sha256:{}", "1".repeat(64)));
    let error = Node::new(Vec::new()).await.pull(&reference).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(chain(&error).contains("digest mismatch"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_says_about_its_failure_is_shown() {
    let busy = Server::start(|_| Reply {
        status: "503 Service Unavailable",
        ..Reply::ok(r#"{"errors":[{"code":"UNAVAILABLE","message":"come\nback later"}]}"#)
    })
    .await;
    let error = Node::new(Vec::new())
        .await
        .pull(&busy.reference("app:1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        chain(&error).ends_with("503 Service Unavailable: comeback later"),
        "{}",
        chain(&error)
    );

    let forbidden = Server::start(|_| Reply::status("403 Forbidden")).await;
    let error = Node::new(Vec::new())
        .await
        .pull(&forbidden.reference("app:1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_json_is_corrupt() {
    let server = Server::start(|_| Reply::ok("<html>a portal</html>")).await;
    let error = Node::new(Vec::new())
        .await
        .pull(&server.reference("app:1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(chain(&error).contains("is malformed"), "{}", chain(&error));
}
