//! Files of every version that was ever written open today, with all they held.

use super::{pod, stop, subnet};
use auraed_state::{ContainerRow, PodRow, SandboxRow, State};
use rusqlite::Connection;
use std::path::Path;

const VERSION_1: &str = include_str!("../golden/version1.sql");
const VERSION_2: &str = include_str!("../golden/version2.sql");
const VERSION_3: &str = include_str!("../golden/version3.sql");

fn schema(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection
        .prepare("select sql from sqlite_schema where sql is not null order by type, name")
        .unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|sql| sql.unwrap().split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[tokio::test]
async fn a_file_of_version_1_opens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("aurae.db");
    Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();

    let state = State::open(&path).unwrap();
    let stopped = PodRow {
        stop: stop(1_700_000_001_000, Some(30)),
        record: b"{\"a\":1}".to_vec(),
        ..pod("two", 2)
    };
    assert_eq!(state.pods().await.unwrap(), [pod("one", 1), stopped]);
    assert_eq!(
        state.images().await.unwrap(),
        [("sha256:00".into(), "{\"id\":\"sha256:00\"}".into())]
    );
    let addresses = state.addresses().await.unwrap();
    assert_eq!(addresses.len(), 1);
    assert_eq!(
        (
            addresses[0].owner.as_str(),
            addresses[0].address.to_string().as_str()
        ),
        ("one", "10.88.0.2")
    );
    assert_eq!(state.next_revision(), 4_200);
}

#[tokio::test]
async fn a_file_of_version_2_opens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("aurae.db");
    Connection::open(&path).unwrap().execute_batch(VERSION_2).unwrap();

    let state = State::open(&path).unwrap();
    assert_eq!(state.pods().await.unwrap().len(), 2);
    let sandbox = SandboxRow {
        id: "pod".into(),
        spec: b"\x0a\x03pod".into(),
        record: vec![8, 1],
    };
    assert_eq!(state.sandboxes().await.unwrap(), [sandbox]);
    let container = ContainerRow {
        id: "main".into(),
        sandbox: "pod".into(),
        spec: b"\x0a\x04main".into(),
        record: vec![8, 2],
    };
    assert_eq!(state.containers().await.unwrap(), [container]);
}

#[tokio::test]
async fn a_file_of_version_3_opens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("aurae.db");
    Connection::open(&path).unwrap().execute_batch(VERSION_3).unwrap();

    let state = State::open(&path).unwrap();
    let assigned = subnet("10.244.3.0", 24);
    assert_eq!(state.assigned_subnet().await.unwrap(), Some(assigned));
    let subnets = async || {
        let rows = state.addresses().await.unwrap();
        rows.iter().map(|row| row.subnet).collect::<Vec<_>>()
    };
    assert_eq!(subnets().await, [None, Some(assigned)]);
    state.adopt_addresses(subnet("10.99.0.0", 16)).await.unwrap();
    assert_eq!(subnets().await, [None, Some(assigned)]);
    state.adopt_addresses(subnet("10.88.0.0", 16)).await.unwrap();
    assert_eq!(subnets().await, [Some(subnet("10.88.0.0", 16)), Some(assigned)]);
}

/// Migrations that were released are never edited: the schema that they make is the one in the golden file.
#[test]
fn each_migration_still_makes_its_version() {
    let migrations = [
        (VERSION_1, include_str!("../../migrations/0001_first.sql")),
        (VERSION_2, include_str!("../../migrations/0002_sandboxes.sql")),
        (VERSION_3, include_str!("../../migrations/0003_subnets.sql")),
    ];
    let directory = tempfile::tempdir().unwrap();
    let fresh = directory.path().join("fresh.db");
    for (number, (dump, migration)) in migrations.into_iter().enumerate() {
        let golden = directory.path().join(format!("golden-{number}.db"));
        Connection::open(&golden).unwrap().execute_batch(dump).unwrap();
        Connection::open(&fresh)
            .unwrap()
            .execute_batch(migration)
            .unwrap();
        assert_eq!(schema(&golden), schema(&fresh));
    }
}
