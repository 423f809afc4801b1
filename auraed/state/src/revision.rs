//! The revision counter: one atomic in memory, reserved in the file by the hundred thousand.
//!
//! A crash loses what was reserved and not used, so numbers have gaps and never repeat.

use crate::StateError;
use crate::pods::durably;
use crate::worker::Worker;
use rusqlite::{Connection, OptionalExtension};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many numbers one write reserves.
const BLOCK: u64 = 100_000;

/// What was given away and what is reserved.
#[derive(Debug)]
pub(crate) struct Revisions {
    next: AtomicU64,
    /// The first number that is not reserved in the file.
    reserved: Arc<AtomicU64>,
    /// The end of the block that was last asked for: one request a block.
    asked: AtomicU64,
}

impl Revisions {
    /// Reserves a first block.
    pub(crate) fn load(connection: &mut Connection) -> Result<Self, StateError> {
        let reserve = |connection: &Connection| {
            let start = stored(connection)?;
            store(connection, start + BLOCK)?;
            Ok(start)
        };
        let start = durably(connection, reserve).map_err(|source| StateError::Query {
            action: "reserve revisions",
            source,
        })?;
        let end = start + BLOCK;
        Ok(Self {
            next: start.into(),
            reserved: Arc::new(end.into()),
            asked: end.into(),
        })
    }

    pub(crate) fn next(&self, worker: &Worker) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Half a block ahead of need: a write takes a millisecond, half a block hours.
        if number + BLOCK / 2 >= self.reserved.load(Ordering::Relaxed) {
            self.extend(worker);
        }
        number
    }

    fn extend(&self, worker: &Worker) {
        let end = self.reserved.load(Ordering::Relaxed);
        let wanted = end + BLOCK;
        if self
            .asked
            .compare_exchange(end, wanted, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            return;
        }
        let reserved = Arc::clone(&self.reserved);
        // Closed only when the daemon stops, which half a block outlasts.
        let _ = worker.send(
            move |connection| match durably(connection, |c| store(c, wanted)) {
                Ok(()) => reserved.store(wanted, Ordering::Relaxed),
                Err(error) => tracing::error!(%error, "cannot reserve revisions"),
            },
        );
    }
}

fn stored(connection: &Connection) -> rusqlite::Result<u64> {
    let found: Option<i64> = connection
        .query_row("select value from counters where name = 'revision'", [], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(found.and_then(|value| u64::try_from(value).ok()).unwrap_or(1))
}

fn store(connection: &Connection, value: u64) -> rusqlite::Result<()> {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    connection.execute(
        "insert into counters (name, value) values ('revision', ?1) on conflict (name) do update set value = ?1",
        [value],
    )?;
    Ok(())
}
