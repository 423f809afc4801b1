//! Removing names and, with the last one, content.

use std::sync::Arc;

use super::Inner;
use crate::{Image, RemoveError};

pub(super) async fn remove(
    inner: &Arc<Inner>,
    reference_or_id: &str,
    in_use: impl Fn(&Image) -> bool + Send,
) -> Result<(), RemoveError> {
    let reference = || reference_or_id.to_owned();
    let gone = {
        let _turn = inner.turn.lock().await;
        let mut next = inner.catalog().clone();
        let found = next.without(reference_or_id);
        let (before, after) = found.ok_or_else(|| RemoveError::NotFound {
            reference: reference(),
        })?;
        if after.is_none() && in_use(&before) {
            return Err(RemoveError::InUse {
                reference: reference(),
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
        let gone = after.is_none();
        next.replace(&before.id, after);
        *inner.catalog() = next;
        gone
    };
    if gone {
        inner.collect().await;
    }
    Ok(())
}
