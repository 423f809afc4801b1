//! The images in the Node's status: the largest, with at most five names each.

use auraed_api::runtime::v0::Image;
use k8s_openapi::api::core::v1::ContainerImage;

/// kubelet's nodeStatusMaxImages.
const IMAGES: usize = 50;
const NAMES: usize = 5;

/// Lists for the scheduler's image locality.
pub(super) fn listed(mut images: Vec<Image>) -> Vec<ContainerImage> {
    images.sort_by(|one, other| {
        other
            .size_bytes
            .cmp(&one.size_bytes)
            .then_with(|| one.id.cmp(&other.id))
    });
    images
        .into_iter()
        .filter(|image| !image.digests.is_empty() || !image.tags.is_empty())
        .take(IMAGES)
        .map(|image| ContainerImage {
            names: Some(image.digests.into_iter().chain(image.tags).take(NAMES).collect()),
            size_bytes: i64::try_from(image.size_bytes).ok(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_first_with_digests_before_tags() {
        let image = |id: &str, size_bytes, names: usize| Image {
            id: id.into(),
            size_bytes,
            tags: (0..names).map(|n| format!("{id}:{n}")).collect(),
            digests: vec![format!("{id}@sha256:0")],
            ..Image::default()
        };
        let nameless = Image {
            size_bytes: 99,
            ..Image::default()
        };
        let listed = listed(vec![image("small", 1, 1), image("large", 2, 9), nameless]);
        let names = |index: usize| listed[index].names.clone().unwrap_or_default();
        assert_eq!(names(0).len(), 5);
        assert_eq!(names(0)[0], "large@sha256:0");
        assert_eq!(names(1), ["small@sha256:0", "small:0"]);
        assert_eq!(listed.len(), 2);
    }
}
