//! The state file from outside: what it keeps, what it refuses, what it survives.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod damage;
mod golden;
mod rows;

use auraed_state::{PodRow, State, Stop, Subnet};
use std::net::Ipv4Addr;
use tempfile::TempDir;

fn fresh() -> (TempDir, State) {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(&directory.path().join("aurae.db")).unwrap();
    (directory, state)
}

fn pod(id: &str, created_at: i64) -> PodRow {
    PodRow {
        id: id.into(),
        namespace: "default".into(),
        name: format!("name-of-{id}"),
        pod: vec![0, 1, 2, 255],
        created_at,
        stop: None,
        record: Vec::new(),
    }
}

fn subnet(text: &str, prefix: u8) -> Subnet {
    Subnet::new(text.parse::<Ipv4Addr>().unwrap(), prefix).unwrap()
}

fn stop(requested_at: i64, grace_seconds: Option<u64>) -> Option<Stop> {
    Some(Stop {
        requested_at,
        grace_seconds,
    })
}
