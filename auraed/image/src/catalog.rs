//! Which images there are and what they are called. Pure: the store writes what changes here to its index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Image, Reference};

/// The images of a store, by id.
#[derive(Debug, Default, Clone)]
pub(crate) struct Catalog {
    images: BTreeMap<String, Arc<Image>>,
    /// Removed while containers used them; of no image that is above.
    retired: BTreeMap<String, Arc<Image>>,
}

/// A name that an image gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NewName {
    /// `registry/repository:tag`; no other image keeps it.
    Tag(String),
    /// `registry/repository@digest`.
    Digest(String),
}

/// What is to be written so that a change lasts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) put: Vec<Arc<Image>>,
    pub(crate) remove: Vec<String>,
}

impl Catalog {
    pub(crate) fn new(images: impl IntoIterator<Item = Image>) -> Catalog {
        let images = images
            .into_iter()
            .map(|image| (image.id.clone(), Arc::new(image)));
        let (retired, images) = images.partition(|(_, image)| image.retired);
        Catalog { images, retired }
    }

    pub(crate) fn list(&self) -> Vec<Arc<Image>> {
        self.images.values().cloned().collect()
    }

    /// The directories that images are made of.
    pub(crate) fn directories(&self) -> BTreeSet<String> {
        let images = self.images.values().chain(self.retired.values());
        images.flat_map(|image| image.stack.iter().cloned()).collect()
    }

    /// By its whole id, also one that was removed while containers used it.
    pub(crate) fn used(&self, id: &str) -> Option<Arc<Image>> {
        self.images.get(id).or_else(|| self.retired.get(id)).cloned()
    }

    /// Those that were removed while containers used them.
    pub(crate) fn retired(&self) -> Vec<Arc<Image>> {
        self.retired.values().cloned().collect()
    }

    /// By tag, digest, id or the unique beginning of an id.
    pub(crate) fn get(&self, reference_or_id: &str) -> Option<Arc<Image>> {
        self.by_id(reference_or_id)
            .or_else(|| self.by_name(&reference_or_id.parse().ok()?))
            .cloned()
    }

    pub(crate) fn by_name(&self, reference: &Reference) -> Option<&Arc<Image>> {
        let name = reference.name();
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => {
                let digest = format!("{name}@{digest}");
                self.images.values().find(|image| image.digests.contains(&digest))
            }
            (None, tag) => {
                let tag = format!("{name}:{}", tag.unwrap_or("latest"));
                self.images.values().find(|image| image.tags.contains(&tag))
            }
        }
    }

    /// A whole id with or without its algorithm, or at least four digits of one. A name of an image wins over a
    /// beginning of an id.
    fn by_id(&self, text: &str) -> Option<&Arc<Image>> {
        const SHORTEST: usize = 4;
        if let Some(image) = self.images.get(text) {
            return Some(image);
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let digits = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() < SHORTEST || !digits || text.parse().is_ok_and(|name| self.by_name(&name).is_some()) {
            return None;
        }
        let beginning = format!("sha256:{hex}");
        let mut found = self
            .images
            .range(beginning.clone()..)
            .take_while(|(id, _)| id.starts_with(&beginning));
        match (found.next(), found.next()) {
            (Some((_, image)), None) => Some(image),
            _ => None,
        }
    }

    /// Adds an image, or names to one that is here, and takes the tags from whoever had them.
    pub(crate) fn add(&mut self, image: Image, names: &[NewName]) -> (Arc<Image>, Change) {
        let mut image = match self.images.get(&image.id) {
            // Its layers may have been fetched anew in other clothes; its names stay.
            Some(old) => Image {
                tags: old.tags.clone(),
                digests: old.digests.clone(),
                ..image
            },
            // Of one that was removed or retired only the content comes back: its names may be another's by now.
            None => Image {
                tags: Vec::new(),
                digests: Vec::new(),
                retired: false,
                ..image
            },
        };
        let mut change = Change::default();
        for name in names {
            match name {
                NewName::Tag(tag) => {
                    for other in self.images.values_mut() {
                        if other.id != image.id && other.tags.contains(tag) {
                            Arc::make_mut(other).tags.retain(|other| other != tag);
                            change.put.push(other.clone());
                        }
                    }
                    insert_sorted(&mut image.tags, tag);
                }
                NewName::Digest(digest) => insert_sorted(&mut image.digests, digest),
            }
        }
        let image = Arc::new(image);
        // The new owner of a tag is written before the old one loses it, so that a crash between leaves it with two,
        // not with none.
        change.put.insert(0, image.clone());
        self.retired.remove(&image.id);
        self.images.insert(image.id.clone(), image.clone());
        (image, change)
    }

    /// What removing a name or an id would do, without doing it: `None` if there is no such image, else the image
    /// before and the image after, which is gone where no name is left.
    pub(crate) fn without(&self, reference_or_id: &str) -> Option<(Arc<Image>, Option<Image>)> {
        if let Some(image) = self.by_id(reference_or_id) {
            return Some((image.clone(), None));
        }
        let reference: Reference = reference_or_id.parse().ok()?;
        let image = self.by_name(&reference)?.clone();
        let mut after = (*image).clone();
        let name = reference.name();
        match reference.digest() {
            Some(digest) => {
                after.digests.retain(|other| *other != format!("{name}@{digest}"));
                // A tag stands for a digest of its repository; without one it stands for nothing.
                if !after.digests.iter().any(|digest| repository_of(digest) == name) {
                    after.tags.retain(|tag| repository_of(tag) != name);
                }
            }
            None => {
                after
                    .tags
                    .retain(|tag| *tag != format!("{name}:{}", reference.tag().unwrap_or("latest")));
                if !after.tags.iter().any(|tag| repository_of(tag) == name) {
                    after.digests.retain(|digest| repository_of(digest) != name);
                }
            }
        }
        let gone = after.tags.is_empty() && after.digests.is_empty();
        Some((image, (!gone).then_some(after)))
    }

    /// Puts an image in its new state, or away.
    pub(crate) fn replace(&mut self, id: &str, after: Option<Image>) {
        self.images.remove(id);
        self.retired.remove(id);
        if let Some(image) = after {
            let place = if image.retired {
                &mut self.retired
            } else {
                &mut self.images
            };
            place.insert(id.to_owned(), Arc::new(image));
        }
    }
}

/// `registry/repository` of a name with a tag or a digest.
fn repository_of(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

fn insert_sorted(names: &mut Vec<String>, name: &str) {
    if let Err(index) = names.binary_search_by(|other| other.as_str().cmp(name)) {
        names.insert(index, name.to_owned());
    }
}

#[cfg(test)]
mod tests;
