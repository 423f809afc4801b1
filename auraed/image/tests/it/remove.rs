//! Names go one by one, content with the last, and nothing that is used.

use auraed_image::{RemoveError, Removed, WhileUsed};

use crate::support::Node;
use crate::support::image::{Packing, image, tar};
use crate::support::registry::Registry;

#[tokio::test(flavor = "multi_thread")]
async fn content_goes_with_the_last_name_and_shared_layers_stay() {
    let registry = Registry::start().await;
    let mut node = Node::new(Vec::new()).await;
    let base = tar(&[("base", "x")]);
    registry.add(
        "a",
        "1",
        &image(&[base.clone(), tar(&[("a", "x")])], Packing::Gzip),
    );
    registry.add("b", "1", &image(&[base, tar(&[("b", "x")])], Packing::Gzip));
    let (a, b) = (registry.reference("a:1"), registry.reference("b:1"));
    let image = node.pull(&a).await.unwrap();
    node.pull(&b).await.unwrap();
    assert_eq!(node.layers(), 3);

    let refused = node
        .store
        .remove(&a, WhileUsed::Refuse, |candidate| candidate.id == image.id)
        .await
        .unwrap_err();
    assert!(matches!(refused, RemoveError::InUse { .. }));
    assert_eq!(
        refused.to_string(),
        format!("image {a:?} is in use by a container")
    );
    node.store.remove(&a, WhileUsed::Refuse, |_| false).await.unwrap();
    assert!(node.store.get(&a).is_none() && node.store.get(&b).is_some());
    assert_eq!(node.layers(), 2);
    node.assert_ingest_is_empty().await;
    let missing = node
        .store
        .remove(&a, WhileUsed::Refuse, |_| false)
        .await
        .unwrap_err();
    assert!(matches!(missing, RemoveError::NotFound { .. }));

    node.reopen().await;
    let id = node.store.get(&b).unwrap().id.clone();
    node.store
        .remove(&id, WhileUsed::Refuse, |_| false)
        .await
        .unwrap();
    assert_eq!((node.layers(), node.index.rows.lock().unwrap().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_used_outlives_its_names_and_goes_when_it_is_not_used() {
    let registry = Registry::start().await;
    let mut node = Node::new(Vec::new()).await;
    let base = tar(&[("base", "x")]);
    registry.add(
        "a",
        "1",
        &image(&[base.clone(), tar(&[("a", "x")])], Packing::Gzip),
    );
    registry.add("b", "1", &image(&[base, tar(&[("b", "x")])], Packing::Gzip));
    let (a, b) = (registry.reference("a:1"), registry.reference("b:1"));
    let image = node.pull(&a).await.unwrap();
    node.pull(&b).await.unwrap();
    let remove = async |node: &Node, name: &str, used: bool| {
        let removed = node.store.remove(name, WhileUsed::Keep, |_| used).await;
        removed.unwrap()
    };
    assert_eq!(remove(&node, &a, true).await, Removed::Retired);
    for name in [&a, &image.id, &image.id[7..], &image.digests[0]] {
        assert!(node.store.get(name).is_none(), "{name}");
    }
    assert_eq!(node.store.list().len(), 1);
    assert!(node.store.used(&image.id).is_some());
    assert!(node.store.remove(&a, WhileUsed::Keep, |_| true).await.is_err());
    // It is still used by the next daemon.
    node.reopen().await;
    assert_eq!(node.layers(), 3);
    assert_eq!(
        node.store.sweep(|image| image.tags == [a.clone()]).await.unwrap(),
        1
    );
    assert_eq!(
        node.read(&node.store.used(&image.id).unwrap(), "a").as_deref(),
        Some("x")
    );

    // Pulled again it is there as ever, with nothing fetched and without its old names.
    let again = node
        .pull(&registry.reference(&format!("a@{}", &image.digests[0].split_once('@').unwrap().1)))
        .await
        .unwrap();
    assert_eq!((again.id.as_str(), again.tags.len()), (image.id.as_str(), 0));
    assert_eq!(node.store.list().len(), 2);
    assert_eq!(node.store.sweep(|_| false).await.unwrap(), 0);
    assert!(node.store.get(&image.id).is_some());

    assert_eq!(remove(&node, &image.id, true).await, Removed::Retired);
    assert_eq!(node.store.sweep(|_| false).await.unwrap(), 0);
    assert_eq!(node.layers(), 2);
    assert!(node.store.used(&image.id).is_none());
    assert_eq!(remove(&node, &b, false).await, Removed::Content);
    assert_eq!((node.layers(), node.index.rows.lock().unwrap().len()), (0, 0));
    assert_eq!(node.store.usage(), auraed_image::Usage::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_names_may_go_while_the_image_is_used() {
    let registry = Registry::start().await;
    let node = Node::new(Vec::new()).await;
    let built = crate::support::image::small("x");
    registry.add("a", "1", &built);
    registry.add("a", "2", &built);
    let (first, second) = (registry.reference("a:1"), registry.reference("a:2"));
    node.pull(&first).await.unwrap();
    node.pull(&second).await.unwrap();
    node.store
        .remove(&first, WhileUsed::Refuse, |_| true)
        .await
        .unwrap();
    assert!(node.store.get(&first).is_none());
    assert!(
        node.store
            .remove(&second, WhileUsed::Refuse, |_| true)
            .await
            .is_err()
    );
    assert!(node.store.get(&second).is_some());
}
