//! The tables of sandboxes and of their containers.
//!
//! Every write is queued by the call itself, before its future is looked at: so writes come in the order of the calls,
//! and a caller that has no need to wait drops the future. They are not waited for on the disk: nothing that runs
//! outlives a power loss, and a file that lost its last moments says what the machine itself says, that it ended.

use crate::{State, StateError};
use rusqlite::{Connection, params};
use std::future::Future;

/// A sandbox as the executive wants it remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxRow {
    /// The key.
    pub id: String,
    /// The encoded message.
    pub spec: Vec<u8>,
    /// What the executive must remember beside it, in its own encoding.
    pub record: Vec<u8>,
}

/// A container as the executive wants it remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRow {
    /// The key.
    pub id: String,
    /// The sandbox that it is in, which must be there.
    pub sandbox: String,
    /// The encoded message. The caller has left out every environment variable.
    pub spec: Vec<u8>,
    /// What the executive must remember beside it, in its own encoding.
    pub record: Vec<u8>,
}

impl State {
    /// Writes a sandbox, replacing the one of the same id.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk is full or fails; the file is then as before.
    pub fn put_sandbox(
        &self,
        row: SandboxRow,
    ) -> impl Future<Output = Result<(), StateError>> + Send + use<> {
        self.worker.enqueue("write a sandbox", move |connection| {
            connection
                .prepare_cached(
                    "insert into sandboxes (id, spec, record) values (?1, ?2, ?3)
                     on conflict (id) do update set spec = ?2, record = ?3",
                )?
                .execute(params![row.id, row.spec, row.record])?;
            Ok(())
        })
    }

    /// Replaces a sandbox's record; nothing happens if there is no such sandbox.
    ///
    /// # Errors
    /// As [`State::put_sandbox`].
    pub fn record_sandbox(
        &self,
        id: &str,
        record: Vec<u8>,
    ) -> impl Future<Output = Result<(), StateError>> + Send + use<> {
        let id = id.to_owned();
        self.worker
            .enqueue("write a sandbox's record", move |connection| {
                connection
                    .prepare_cached("update sandboxes set record = ?2 where id = ?1")?
                    .execute(params![id, record])?;
                Ok(())
            })
    }

    /// Forgets a sandbox and its containers, all or nothing.
    ///
    /// # Errors
    /// As [`State::put_sandbox`].
    pub fn remove_sandbox(&self, id: &str) -> impl Future<Output = Result<(), StateError>> + Send + use<> {
        let id = id.to_owned();
        self.worker.enqueue("remove a sandbox", move |connection| {
            connection
                .prepare_cached("delete from sandboxes where id = ?1")?
                .execute([id])?;
            Ok(())
        })
    }

    /// All sandboxes, by id.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk fails.
    pub async fn sandboxes(&self) -> Result<Vec<SandboxRow>, StateError> {
        self.worker
            .run("read the sandboxes", |connection| all_sandboxes(connection))
            .await
    }

    /// Writes a container, replacing the one of the same id.
    ///
    /// # Errors
    /// [`StateError::Query`] when its sandbox is not there, or the disk is full or fails; the file is then as before.
    pub fn put_container(
        &self,
        row: ContainerRow,
    ) -> impl Future<Output = Result<(), StateError>> + Send + use<> {
        self.worker.enqueue("write a container", move |connection| {
            connection
                .prepare_cached(
                    "insert into containers (id, sandbox, spec, record) values (?1, ?2, ?3, ?4)
                     on conflict (id) do update set sandbox = ?2, spec = ?3, record = ?4",
                )?
                .execute(params![row.id, row.sandbox, row.spec, row.record])?;
            Ok(())
        })
    }

    /// Replaces a container's record; nothing happens if there is no such container.
    ///
    /// # Errors
    /// As [`State::put_sandbox`].
    pub fn record_container(
        &self,
        id: &str,
        record: Vec<u8>,
    ) -> impl Future<Output = Result<(), StateError>> + Send + use<> {
        let id = id.to_owned();
        self.worker
            .enqueue("write a container's record", move |connection| {
                connection
                    .prepare_cached("update containers set record = ?2 where id = ?1")?
                    .execute(params![id, record])?;
                Ok(())
            })
    }

    /// Forgets a container.
    ///
    /// # Errors
    /// As [`State::put_sandbox`].
    pub fn remove_container(&self, id: &str) -> impl Future<Output = Result<(), StateError>> + Send + use<> {
        let id = id.to_owned();
        self.worker.enqueue("remove a container", move |connection| {
            connection
                .prepare_cached("delete from containers where id = ?1")?
                .execute([id])?;
            Ok(())
        })
    }

    /// All containers, by id.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk fails.
    pub async fn containers(&self) -> Result<Vec<ContainerRow>, StateError> {
        self.worker
            .run("read the containers", |connection| all_containers(connection))
            .await
    }
}

fn all_sandboxes(connection: &Connection) -> rusqlite::Result<Vec<SandboxRow>> {
    let mut statement = connection.prepare_cached("select id, spec, record from sandboxes order by id")?;
    let rows = statement.query_map([], |row| {
        Ok(SandboxRow {
            id: row.get(0)?,
            spec: row.get(1)?,
            record: row.get(2)?,
        })
    })?;
    rows.collect()
}

fn all_containers(connection: &Connection) -> rusqlite::Result<Vec<ContainerRow>> {
    let mut statement =
        connection.prepare_cached("select id, sandbox, spec, record from containers order by id")?;
    let rows = statement.query_map([], |row| {
        Ok(ContainerRow {
            id: row.get(0)?,
            sandbox: row.get(1)?,
            spec: row.get(2)?,
            record: row.get(3)?,
        })
    })?;
    rows.collect()
}
