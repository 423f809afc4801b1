//! Removing names and, with the last one, content; and content that outlived its names because containers used it.

use std::sync::Arc;

use super::Inner;
use crate::{Image, RemoveError};

/// What is to become of content that is in use when its last name goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileUsed {
    /// It stays as long as it is used, though nothing finds it by a name any more.
    Keep,
    /// Nothing is removed.
    Refuse,
}

/// What a removal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// The image has other names left.
    Name,
    /// The image is gone, with the layers that no other has.
    Content,
    /// The image has no name left, and goes when it is not used any more: see [`super::Store::sweep`].
    Retired,
}

pub(super) async fn remove(
    inner: &Arc<Inner>,
    reference_or_id: &str,
    while_used: WhileUsed,
    in_use: impl Fn(&Image) -> bool + Send,
) -> Result<Removed, RemoveError> {
    let reference = || reference_or_id.to_owned();
    let removed = {
        let _turn = inner.turn.lock().await;
        let mut next = inner.catalog().clone();
        let found = next.without(reference_or_id);
        let (before, mut after) = found.ok_or_else(|| RemoveError::NotFound {
            reference: reference(),
        })?;
        let mut removed = match &after {
            Some(_) => Removed::Name,
            None => Removed::Content,
        };
        if removed == Removed::Content && in_use(&before) {
            if while_used == WhileUsed::Refuse {
                return Err(RemoveError::InUse {
                    reference: reference(),
                });
            }
            removed = Removed::Retired;
            after = Some(Image {
                retired: true,
                ..(*before).clone()
            });
        }
        let written = match &after {
            Some(image) => inner.index.put(image).await,
            None => inner.index.remove(&before.id).await,
        };
        written.map_err(|source| RemoveError::Index {
            id: before.id.clone(),
            source,
        })?;
        next.replace(&before.id, after);
        *inner.catalog() = next;
        removed
    };
    if removed == Removed::Content {
        inner.collect().await;
    }
    Ok(removed)
}

/// Removes what was retired and is not used any more; says how many are left.
pub(super) async fn sweep(
    inner: &Arc<Inner>,
    in_use: impl Fn(&Image) -> bool + Send,
) -> Result<usize, RemoveError> {
    let (gone, left) = {
        let _turn = inner.turn.lock().await;
        let retired = inner.catalog().retired();
        let (used, gone): (Vec<_>, Vec<_>) = retired.into_iter().partition(|image| in_use(image));
        for image in &gone {
            let removed = inner.index.remove(&image.id).await;
            removed.map_err(|source| RemoveError::Index {
                id: image.id.clone(),
                source,
            })?;
            inner.catalog().replace(&image.id, None);
        }
        (gone.len(), used.len())
    };
    if gone > 0 {
        inner.collect().await;
    }
    Ok(left)
}
