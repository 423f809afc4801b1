//! Answers of the Stream calls: lists of some items each, none larger than a message may be.

use std::vec::IntoIter;

use prost::Message;
use tonic::Status;

/// A message holds at most this much, but for an item that alone is larger.
const BYTES: usize = 1024 * 1024;

/// A stream that has all its messages.
pub(crate) type Lists<T> = tokio_stream::Iter<IntoIter<Result<T, Status>>>;

/// Each item in exactly one list, in their order; no list where there is no item.
pub(crate) fn in_lists<I: Message, T>(items: Vec<I>, list: fn(Vec<I>) -> T) -> Lists<T> {
    let mut lists = Vec::new();
    let (mut current, mut size) = (Vec::new(), 0);
    for item in items {
        let bytes = item.encoded_len();
        if !current.is_empty() && size + bytes > BYTES {
            lists.push(Ok(list(std::mem::take(&mut current))));
            size = 0;
        }
        size += bytes;
        current.push(item);
    }
    if !current.is_empty() {
        lists.push(Ok(list(current)));
    }
    tokio_stream::iter(lists)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri_api::v1::{Container, StreamContainersResponse};
    use tokio_stream::StreamExt;

    async fn sizes(items: &[usize]) -> Vec<usize> {
        let items = items
            .iter()
            .map(|size| Container {
                id: "x".repeat(*size),
                ..Default::default()
            })
            .collect();
        let lists: Vec<_> = in_lists(items, |containers| StreamContainersResponse { containers })
            .collect()
            .await;
        lists
            .into_iter()
            .map(|list| list.map_or(0, |list| list.containers.len()))
            .collect()
    }

    #[tokio::test]
    async fn lists_are_bounded_and_never_empty() {
        assert_eq!(sizes(&[]).await, [0; 0]);
        assert_eq!(sizes(&[1, 2, 3]).await, [3]);
        assert_eq!(sizes(&[BYTES / 2, BYTES / 3, BYTES / 2]).await, [2, 1]);
        assert_eq!(sizes(&[1, 2 * BYTES, 1]).await, [1, 1, 1]);
    }
}
