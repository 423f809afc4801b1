use super::*;
use crate::{Digest, ImageConfig};

fn image(content: &str) -> Image {
    Image {
        id: Digest::sha256(content.as_bytes()).to_string(),
        tags: Vec::new(),
        digests: Vec::new(),
        size_bytes: 1,
        created_at: None,
        architecture: "amd64".into(),
        os: "linux".into(),
        config: ImageConfig::default(),
        layers: Vec::new(),
        stack: vec![format!("sha256-{content}")],
        retired: false,
    }
}

fn tag(name: &str) -> NewName {
    NewName::Tag(name.to_owned())
}

fn digest(name: &str, content: &str) -> NewName {
    NewName::Digest(format!("{name}@{}", Digest::sha256(content.as_bytes())))
}

#[test]
fn an_image_is_found_by_each_of_its_names() {
    let mut catalog = Catalog::default();
    let (first, _) = catalog.add(
        image("1"),
        &[
            tag("docker.io/library/a:1"),
            digest("docker.io/library/a", "manifest"),
        ],
    );
    let digest = Digest::sha256(b"manifest");
    let hex = first.id.strip_prefix("sha256:").unwrap();
    for name in [
        "a:1",
        "docker.io/library/a:1",
        &format!("a@{digest}"),
        &format!("a:other@{digest}"),
        &first.id,
        hex,
        &hex[..4],
    ] {
        assert_eq!(
            catalog.get(name).map(|image| image.id.clone()),
            Some(first.id.clone()),
            "{name}"
        );
    }
    for name in [
        "a",
        "a:2",
        "b:1",
        &hex[..3],
        &format!("b@{digest}"),
        "",
        "sha256:",
    ] {
        assert!(catalog.get(name).is_none(), "{name}");
    }
}

#[test]
fn a_beginning_of_two_ids_is_nobodys_and_a_name_wins_over_one() {
    let mut catalog = Catalog::default();
    let twin = |end: &str| Image {
        id: format!("sha256:abcd{}{end}", "0".repeat(59)),
        ..image(end)
    };
    catalog.add(twin("1"), &[]);
    assert!(catalog.get("abcd").is_some());
    catalog.add(twin("2"), &[]);
    assert!(catalog.get("abcd").is_none());
    let (named, _) = catalog.add(image("x"), &[tag("docker.io/library/abcd:latest")]);
    assert_eq!(catalog.get("abcd").unwrap().id, named.id);
}

#[test]
fn a_tag_has_one_image_and_an_image_many_tags() {
    let mut catalog = Catalog::default();
    catalog.add(image("old"), &[tag("r/a:1"), tag("r/a:2"), digest("r/a", "old")]);
    let (new, change) = catalog.add(image("new"), &[tag("r/a:1"), digest("r/a", "new")]);
    assert_eq!(
        change.put.iter().map(|image| image.id.as_str()).next(),
        Some(new.id.as_str())
    );
    assert_eq!(change.put.len(), 2);
    assert_eq!(change.put[1].tags, ["r/a:2"]);
    assert_eq!(catalog.list().len(), 2);

    let (same, _) = catalog.add(image("new"), &[tag("s/b:1"), digest("s/b", "other manifest")]);
    assert_eq!(same.tags, ["r/a:1", "s/b:1"]);
    assert_eq!(same.digests.len(), 2);
}

#[test]
fn the_last_name_takes_the_image_along() {
    let mut catalog = Catalog::default();
    catalog.add(
        image("1"),
        &[
            tag("r.io/a:1"),
            tag("r.io/a:2"),
            digest("r.io/a", "m"),
            tag("r.io/b:1"),
            digest("r.io/b", "m"),
        ],
    );
    let mut remove = |name: &str| {
        let (before, after) = catalog.without(name).unwrap();
        let left = after
            .as_ref()
            .map(|image| (image.tags.len(), image.digests.len()));
        catalog.replace(&before.id, after);
        left
    };
    assert_eq!(remove("r.io/a:1"), Some((2, 2)));
    assert_eq!(remove("r.io/a:2"), Some((1, 1)));
    assert_eq!(remove(&format!("r.io/b@{}", Digest::sha256(b"m"))), None);
    assert!(catalog.list().is_empty());
    assert!(catalog.without("r.io/a:1").is_none());
}

#[test]
fn an_id_takes_all_names_along() {
    let mut catalog = Catalog::default();
    let (image, _) = catalog.add(image("1"), &[tag("r.io/a:1"), tag("r.io/b:1")]);
    let (before, after) = catalog.without(&image.id[..20]).unwrap();
    assert_eq!((before.tags.len(), after), (2, None));
}

#[test]
fn an_image_that_was_removed_comes_back_without_the_names_it_had() {
    let mut catalog = Catalog::default();
    let (before, _) = catalog.add(image("1"), &[tag("r.io/a:1"), digest("r.io/a", "m")]);
    catalog.replace(&before.id, None);
    let (other, _) = catalog.add(image("2"), &[tag("r.io/a:1")]);
    // Somebody who pulls it saw it a moment ago.
    let (again, change) = catalog.add((*before).clone(), &[digest("r.io/a", "m")]);
    assert_eq!(
        (again.tags.len(), again.digests.len(), change.put.len()),
        (0, 1, 1)
    );
    assert_eq!(catalog.get("r.io/a:1").unwrap().id, other.id);
}
