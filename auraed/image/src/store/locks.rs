//! Locks by name, made when they are wanted and forgotten when nobody holds them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

#[derive(Default)]
pub(super) struct Locks {
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Locks {
    /// Waits until nobody else holds this name.
    pub(super) async fn lock(&self, name: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            match locks.get(name).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    locks.retain(|_, lock| lock.strong_count() > 0);
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    locks.insert(name.to_owned(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_name_has_one_holder_and_names_are_forgotten() {
        let locks = Locks::default();
        let held = locks.lock("a").await;
        let _other = locks.lock("b").await;
        let mut waiting = Box::pin(locks.lock("a"));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(held);
        drop(waiting.await);
        let _third = locks.lock("c").await;
        assert_eq!(locks.locks.lock().unwrap().len(), 2);
    }
}
