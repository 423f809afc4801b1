//! One call at a time for each attachment; any number for different ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Above as many names, those that nobody holds are let go.
const CROWDED: usize = 64;

type Turn = tokio::sync::Mutex<()>;

/// Locks by name.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<String, Weak<Turn>>>);

impl Locks {
    /// Waits for the turn, in the order of asking.
    pub(crate) async fn turn(&self, name: &str) -> OwnedMutexGuard<()> {
        self.of(name).lock_owned().await
    }

    fn of(&self, name: &str) -> Arc<Turn> {
        // The holder inserts or removes whole entries.
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= CROWDED {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn::default());
        turns.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_held_once_and_forgotten_later() {
        let locks = Locks::default();
        let held = locks.turn("a").await;
        assert!(locks.of("a").try_lock().is_err());
        assert!(locks.of("b").try_lock().is_ok());
        drop(held);
        assert!(locks.of("a").try_lock().is_ok());
        for number in 0..1000 {
            drop(locks.turn(&number.to_string()).await);
        }
        assert!(locks.0.lock().unwrap().len() <= CROWDED);
    }
}
