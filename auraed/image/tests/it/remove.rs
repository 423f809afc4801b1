//! Names go one by one, content with the last, and nothing that is used.

use auraed_image::{RemoveError, WhileUsed};

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
