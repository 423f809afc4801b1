//! Interrupted writes are recovered; what cannot be trusted is refused and left as it is.

use super::{fresh, pod};
use auraed_state::{State, StateError};
use rusqlite::Connection;
use std::path::Path;

/// Copies the database as a power loss would leave it: no connection closes it.
fn copy_as_it_is(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let name = format!("aurae.db{suffix}");
        fs_err::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

#[tokio::test]
async fn a_write_that_was_cut_off_is_taken_back() {
    let (directory, state) = fresh();
    state.put_pod(pod("whole", 1)).await.unwrap();
    let before = fs_err::metadata(directory.path().join("aurae.db-wal"))
        .unwrap()
        .len();
    state.put_pod(pod("cut", 2)).await.unwrap();
    let after = fs_err::metadata(directory.path().join("aurae.db-wal"))
        .unwrap()
        .len();
    assert!(after > before, "the second write was appended");

    // Every length from the end of the first write to just before the end of the second.
    for length in [before, before + 1, (before + after) / 2, after - 1] {
        let crashed = tempfile::tempdir().unwrap();
        copy_as_it_is(directory.path(), crashed.path());
        let wal = fs_err::OpenOptions::new()
            .write(true)
            .open(crashed.path().join("aurae.db-wal"))
            .unwrap();
        wal.set_len(length).unwrap();
        let recovered = State::open(&crashed.path().join("aurae.db")).unwrap();
        assert_eq!(
            recovered.pods().await.unwrap(),
            [pod("whole", 1)],
            "cut at {length} of {after}"
        );
        recovered.put_pod(pod("next", 3)).await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_advice_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("aurae.db");
    fs_err::write(&path, b"this is no database, but it is somebody's file").unwrap();
    let error = State::open(&path).unwrap_err();
    assert!(matches!(error, StateError::Damaged { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("restore it from a copy") && text.contains("nothing was changed"),
        "{text}"
    );
    assert_eq!(
        fs_err::read(&path).unwrap(),
        b"this is no database, but it is somebody's file"
    );
}

#[tokio::test]
async fn overwritten_pages_are_found() {
    let (directory, state) = fresh();
    for index in 0..200 {
        state.put_pod(pod(&format!("pod-{index}"), index)).await.unwrap();
    }
    state.close().await;
    let path = directory.path().join("aurae.db");
    let mut content = fs_err::read(&path).unwrap();
    for byte in &mut content[8192..20480] {
        *byte = 0xa5;
    }
    fs_err::write(&path, &content).unwrap();
    let error = State::open(&path).unwrap_err();
    assert!(matches!(error, StateError::Damaged { .. }), "{error}");
    assert_eq!(fs_err::read(&path).unwrap(), content);
}

#[test]
fn another_programs_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("aurae.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("create table other (x)")
        .unwrap();
    let error = State::open(&path).unwrap_err();
    assert!(matches!(error, StateError::Foreign { found: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_newer_version_is_refused() {
    let (directory, state) = fresh();
    state.close().await;
    let path = directory.path().join("aurae.db");
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = State::open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            StateError::TooNew {
                found: 99,
                known: 3,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("run the newer auraed"), "{error}");
}

#[test]
fn a_directory_that_is_missing_is_named() {
    let error = State::open(Path::new("/nonexistent/aurae.db")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot make the state file /nonexistent/aurae.db"
    );
}
