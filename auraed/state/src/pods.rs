//! The table of pods: what should run.

use crate::{State, StateError};
use rusqlite::{Connection, Row, named_params};

/// A pod as the engine wants it remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRow {
    /// The caller's id of the pod; the key.
    pub id: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The encoded message. The caller has blanked every sensitive value.
    pub pod: Vec<u8>,
    /// When the pod was accepted, in milliseconds since 1970.
    pub created_at: i64,
    /// Set once somebody asked for the pod to stop.
    pub stop: Option<Stop>,
    /// What the engine must remember beside the pod, in its own encoding; may be empty.
    pub record: Vec<u8>,
}

/// Somebody asked for a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// When, in milliseconds since 1970.
    pub requested_at: i64,
    /// The grace period in seconds; `None` for the pod's own.
    pub grace_seconds: Option<u64>,
}

impl State {
    /// Writes a pod, replacing the one of the same id. On return it outlives a power loss.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk is full or fails; the file is then as before.
    pub async fn put_pod(&self, row: PodRow) -> Result<(), StateError> {
        self.worker
            .run("write a pod", move |connection| {
                durably(connection, |c| put(c, &row))
            })
            .await
    }

    /// All pods, the oldest first.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk fails.
    pub async fn pods(&self) -> Result<Vec<PodRow>, StateError> {
        self.worker
            .run("read the pods", |connection| all(connection))
            .await
    }

    /// Forgets a pod; `false` if it was not there. On return the removal outlives a power loss.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk is full or fails; the file is then as before.
    pub async fn remove_pod(&self, id: &str) -> Result<bool, StateError> {
        let id = id.to_owned();
        self.worker
            .run("remove a pod", move |connection| {
                durably(connection, |c| remove(c, &id))
            })
            .await
    }
}

/// Runs one write so that its commit waits for the disk.
pub(crate) fn durably<T>(
    connection: &mut Connection,
    write: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.pragma_update(None, "synchronous", "full")?;
    let result = write(connection);
    connection.pragma_update(None, "synchronous", "normal")?;
    result
}

fn put(connection: &Connection, row: &PodRow) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "insert into pods (id, namespace, name, pod, created_at, stop_at, stop_grace, record)
         values (:id, :namespace, :name, :pod, :created_at, :stop_at, :stop_grace, :record)
         on conflict (id) do update set namespace = :namespace, name = :name, pod = :pod, created_at = :created_at,
             stop_at = :stop_at, stop_grace = :stop_grace, record = :record",
    )?;
    let grace = row.stop.and_then(|stop| stop.grace_seconds);
    statement.execute(named_params! {
        ":id": row.id,
        ":namespace": row.namespace,
        ":name": row.name,
        ":pod": row.pod,
        ":created_at": row.created_at,
        ":stop_at": row.stop.map(|stop| stop.requested_at),
        // SQLite's integers are signed; a grace period of 300 thousand million years is long enough.
        ":stop_grace": grace.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX)),
        ":record": row.record,
    })?;
    Ok(())
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<PodRow>> {
    let mut statement = connection.prepare_cached(
        "select id, namespace, name, pod, created_at, stop_at, stop_grace, record from pods order by created_at, id",
    )?;
    statement.query_map([], read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<PodRow> {
    let stop_at: Option<i64> = row.get("stop_at")?;
    let grace: Option<i64> = row.get("stop_grace")?;
    let grace_seconds = grace.and_then(|seconds| u64::try_from(seconds).ok());
    Ok(PodRow {
        id: row.get("id")?,
        namespace: row.get("namespace")?,
        name: row.get("name")?,
        pod: row.get("pod")?,
        created_at: row.get("created_at")?,
        stop: stop_at.map(|requested_at| Stop {
            requested_at,
            grace_seconds,
        }),
        record: row.get("record")?,
    })
}

fn remove(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    Ok(connection
        .prepare_cached("delete from pods where id = ?1")?
        .execute([id])?
        > 0)
}
