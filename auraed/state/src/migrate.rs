//! Opens the file and brings its schema up to date: `user_version` counts the numbered files below `migrations/`.
//!
//! Each step is one transaction together with its version. A file is looked at before anything is written into it.

use crate::StateError;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// "AURA": tells the file from other programs' databases (file(1) shows it).
const APPLICATION_ID: i32 = 0x4155_5241;

/// Step `n` leads from version `n` to `n + 1`. Never edit one that was released: add the next.
const STEPS: &[&str] = &[
    include_str!("../migrations/0001_first.sql"),
    include_str!("../migrations/0002_sandboxes.sql"),
    include_str!("../migrations/0003_subnets.sql"),
];

/// Opens, checks and migrates the file at `path`.
pub(crate) fn open(path: &Path) -> Result<Connection, StateError> {
    make_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open_error = |source: rusqlite::Error| classify(path, source);
    let mut connection = Connection::open_with_flags(path, flags).map_err(open_error)?;
    let version = inspect(&connection, path)?;
    configure(&connection).map_err(open_error)?;
    migrate(&mut connection, path, version)?;
    Ok(connection)
}

/// The file must never be readable for others, not even for the moment between its making and a chmod; SQLite gives its
/// -wal and -shm files the same mode.
fn make_private(path: &Path) -> Result<(), StateError> {
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    made.map(drop).map_err(|source| StateError::Create {
        path: path.to_owned(),
        source,
    })
}

/// Looks the file over without changing it; answers its version.
fn inspect(connection: &Connection, path: &Path) -> Result<i64, StateError> {
    let open_error = |source: rusqlite::Error| classify(path, source);
    let id: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(open_error)?;
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(open_error)?;
    let tables: i64 = connection
        .query_row("select count(*) from sqlite_schema", [], |row| row.get(0))
        .map_err(open_error)?;
    let empty = tables == 0 && version == 0 && id == 0;
    if !empty && id != APPLICATION_ID {
        return Err(StateError::Foreign {
            path: path.to_owned(),
            found: id,
        });
    }
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(StateError::TooNew {
            path: path.to_owned(),
            found: version,
            known,
        });
    }
    let finding: String = connection
        .query_row("pragma quick_check(1)", [], |row| row.get(0))
        .map_err(open_error)?;
    if finding != "ok" {
        return Err(StateError::Damaged {
            path: path.to_owned(),
            detail: finding,
        });
    }
    Ok(version)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Freed pages are overwritten: a removed pod leaves no trace of itself in the file.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path, version: i64) -> Result<(), StateError> {
    let first = usize::try_from(version).unwrap_or(0);
    for (step, sql) in STEPS.iter().enumerate().skip(first) {
        let version = i64::try_from(step + 1).unwrap_or(i64::MAX);
        let failed = |source| StateError::Migrate {
            path: path.to_owned(),
            version,
            source,
        };
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(sql).map_err(failed)?;
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", version)
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

fn classify(path: &Path, source: rusqlite::Error) -> StateError {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StateError::Damaged {
            path: path.to_owned(),
            detail: source.to_string(),
        },
        _ => StateError::Open {
            path: path.to_owned(),
            source,
        },
    }
}
