//! Removing names and, with the last one, content; and content that outlived its names because containers used it.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

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
    let turn = Arc::clone(&inner.turn).lock_owned().await;
    let found = inner.catalog().without(reference_or_id);
    let (before, after) = found.ok_or_else(|| RemoveError::NotFound {
        reference: reference_or_id.to_owned(),
    })?;
    let (removed, after) = match after {
        Some(after) => (Removed::Name, Some(after)),
        None if take_out(inner, &before, &in_use) => (Removed::Content, None),
        None if while_used == WhileUsed::Refuse => {
            return Err(RemoveError::InUse {
                reference: reference_or_id.to_owned(),
            });
        }
        None => {
            let mut after = (*before).clone();
            after.retired = true;
            (Removed::Retired, Some(after))
        }
    };
    settle(inner, turn, vec![(before, after)]).await?;
    Ok(removed)
}

/// Removes what was retired and is not used any more; says how many are left.
pub(super) async fn sweep(
    inner: &Arc<Inner>,
    in_use: impl Fn(&Image) -> bool + Send,
) -> Result<usize, RemoveError> {
    let turn = Arc::clone(&inner.turn).lock_owned().await;
    let retired = inner.catalog().retired();
    let (gone, used): (Vec<_>, Vec<_>) = retired
        .into_iter()
        .partition(|image| take_out(inner, image, &in_use));
    let gone = gone.into_iter().map(|image| (image, None)).collect();
    settle(inner, turn, gone).await?;
    Ok(used.len())
}

/// Takes an image out of the catalog unless it is used. Who begins to use one claims it first and looks for it then, so
/// that this sees the claim, or they see that it is gone.
fn take_out(inner: &Inner, image: &Arc<Image>, in_use: &impl Fn(&Image) -> bool) -> bool {
    if in_use(image) {
        return false;
    }
    inner.catalog().replace(&image.id, None);
    if !in_use(image) {
        return true;
    }
    inner.catalog().replace(&image.id, Some((**image).clone()));
    false
}

/// Writes down what becomes of images, and shows it. In a task of its own: what the index was told and the catalog was
/// not would come to light at the next start, when the layers go that containers may use by then.
async fn settle(
    inner: &Arc<Inner>,
    turn: OwnedMutexGuard<()>,
    images: Vec<(Arc<Image>, Option<Image>)>,
) -> Result<(), RemoveError> {
    let Some((first, _)) = images.first() else {
        return Ok(());
    };
    let (inner, id) = (Arc::clone(inner), first.id.clone());
    let settling = tokio::spawn(async move {
        let (mut gone, mut settled) = (false, Ok(()));
        for (before, after) in images {
            let written = match &after {
                Some(image) => inner.index.put(image).await,
                None => inner.index.remove(&before.id).await,
            };
            let after = match written {
                Ok(()) => after,
                Err(source) => {
                    let id = before.id.clone();
                    settled = Err(RemoveError::Index { id, source });
                    Some((*before).clone())
                }
            };
            gone |= after.is_none();
            inner.catalog().replace(&before.id, after);
        }
        drop(turn);
        if gone {
            inner.collect().await;
        }
        settled
    });
    let stopped = |error| RemoveError::Index {
        id,
        source: Box::new(error),
    };
    settling.await.map_err(stopped)?
}
