//! What is written is read back, by the next daemon as well.

use super::{fresh, pod, stop, subnet};
use auraed_state::{ContainerRow, PodRow, SandboxRow, State, StateError};
use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn pods_are_kept_in_their_order_across_a_restart() {
    let (directory, state) = fresh();
    state.put_pod(pod("b", 1)).await.unwrap();
    state.put_pod(pod("a", 2)).await.unwrap();
    let stopped = PodRow {
        stop: stop(77, Some(3)),
        record: b"{}".to_vec(),
        ..pod("b", 1)
    };
    state.put_pod(stopped.clone()).await.unwrap();
    state.close().await;

    let state = State::open(&directory.path().join("aurae.db")).unwrap();
    assert_eq!(state.pods().await.unwrap(), [stopped, pod("a", 2)]);
    assert!(state.remove_pod("b").await.unwrap());
    assert!(!state.remove_pod("b").await.unwrap());
    assert_eq!(state.pods().await.unwrap(), [pod("a", 2)]);
}

#[tokio::test]
async fn a_stop_without_a_grace_period_keeps_none() {
    let (_directory, state) = fresh();
    let row = PodRow {
        stop: stop(5, None),
        ..pod("a", 1)
    };
    state.put_pod(row.clone()).await.unwrap();
    assert_eq!(state.pods().await.unwrap(), [row]);
}

#[tokio::test]
async fn images_are_replaced_by_id() {
    let (_directory, state) = fresh();
    state.put_image("sha256:b", "{1}".into()).await.unwrap();
    state.put_image("sha256:a", "{2}".into()).await.unwrap();
    state.put_image("sha256:b", "{3}".into()).await.unwrap();
    let expected = [
        ("sha256:a".into(), "{2}".into()),
        ("sha256:b".into(), "{3}".into()),
    ];
    assert_eq!(state.images().await.unwrap(), expected);
    assert!(state.remove_image("sha256:a").await.unwrap());
    assert!(!state.remove_image("sha256:a").await.unwrap());
}

#[tokio::test]
async fn an_owner_keeps_its_address() {
    let (_directory, state) = fresh();
    let net = subnet("10.1.2.3", 24);
    let first = state.allocate_address("one", net).await.unwrap();
    assert_eq!(first.to_string(), "10.1.2.2");
    assert_eq!(
        state.allocate_address("two", net).await.unwrap().to_string(),
        "10.1.2.3"
    );
    assert_eq!(state.allocate_address("one", net).await.unwrap(), first);
    assert_eq!(state.release_address("one").await.unwrap(), Some(first));
    assert_eq!(state.release_address("one").await.unwrap(), None);
}

#[tokio::test]
async fn an_address_rests_before_it_is_given_again() {
    let (_directory, state) = fresh();
    let net = subnet("10.0.0.0", 29);
    let mut seen = Vec::new();
    for round in 0..5 {
        let owner = format!("pod-{round}");
        seen.push(state.allocate_address(&owner, net).await.unwrap().octets()[3]);
        state.release_address(&owner).await.unwrap();
    }
    assert_eq!(seen, [2, 3, 4, 5, 6]);
    assert_eq!(state.allocate_address("again", net).await.unwrap().octets()[3], 2);
}

#[tokio::test]
async fn a_full_subnet_says_so_and_gives_what_comes_free() {
    let (_directory, state) = fresh();
    let net = subnet("10.0.0.0", 29);
    let mut given = HashSet::new();
    for owner in ["a", "b", "c", "d", "e"] {
        given.insert(state.allocate_address(owner, net).await.unwrap());
    }
    assert_eq!(given.len(), 5);
    let error = state.allocate_address("f", net).await.unwrap_err();
    assert!(matches!(error, StateError::SubnetFull(_)));
    assert_eq!(error.to_string(), "no free address is left in 10.0.0.0/29");
    let free = state.release_address("c").await.unwrap().unwrap();
    assert_eq!(state.allocate_address("f", net).await.unwrap(), free);
}

#[tokio::test]
async fn another_subnet_gives_another_address() {
    let (_directory, state) = fresh();
    state.allocate_address("a", subnet("10.0.0.0", 24)).await.unwrap();
    let moved = state.allocate_address("a", subnet("10.9.0.0", 24)).await.unwrap();
    assert_eq!(moved.to_string(), "10.9.0.2");
    assert_eq!(state.addresses().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_address_says_of_which_subnet_it_is() {
    let (directory, state) = fresh();
    let (old, new) = (subnet("10.0.0.0", 16), subnet("10.9.0.0", 24));
    state.allocate_address("a", old).await.unwrap();
    state.allocate_address("b", new).await.unwrap();
    state.close().await;
    let state = State::open(&directory.path().join("aurae.db")).unwrap();
    let rows = state.addresses().await.unwrap();
    let subnets: Vec<_> = rows.iter().map(|row| (row.owner.as_str(), row.subnet)).collect();
    assert_eq!(subnets, [("a", Some(old)), ("b", Some(new))]);
    // The same address in a subnet of another length is another one to its pod.
    state.allocate_address("a", subnet("10.0.0.0", 24)).await.unwrap();
    let rows = state.addresses().await.unwrap();
    assert_eq!(rows[0].subnet, Some(subnet("10.0.0.0", 24)));
}

#[tokio::test]
async fn what_an_older_subnet_needs_is_not_given() {
    let (_directory, state) = fresh();
    state.allocate_address("a", subnet("10.0.0.8", 29)).await.unwrap();
    // Around the older one's network, gateway and broadcast address, and its owner.
    let wide = subnet("10.0.0.0", 28);
    let mut given = Vec::new();
    while let Ok(address) = state.allocate_address(&given.len().to_string(), wide).await {
        given.push(address.octets()[3]);
    }
    given.sort_unstable();
    assert_eq!(given, [2, 3, 4, 5, 6, 7, 11, 12, 13, 14]);
}

#[tokio::test]
async fn the_assigned_subnet_outlives_a_crash() {
    let (directory, state) = fresh();
    assert_eq!(state.assigned_subnet().await.unwrap(), None);
    state.assign_subnet(subnet("10.1.0.0", 24)).await.unwrap();
    state.assign_subnet(subnet("10.2.0.0", 24)).await.unwrap();
    let next = State::open(&directory.path().join("aurae.db")).unwrap();
    drop(state);
    assert_eq!(
        next.assigned_subnet().await.unwrap(),
        Some(subnet("10.2.0.0", 24))
    );
}

#[tokio::test]
async fn many_owners_at_once_never_share() {
    let (_directory, state) = fresh();
    let net = subnet("10.0.0.0", 22);
    let tasks: Vec<_> = (0..200)
        .map(|index| {
            let state = state.clone();
            tokio::spawn(async move { state.allocate_address(&format!("p{index}"), net).await.unwrap() })
        })
        .collect();
    let mut given = HashSet::new();
    for task in tasks {
        assert!(given.insert(task.await.unwrap()));
    }
    let rows = state.addresses().await.unwrap();
    assert!(rows.iter().all(|row| net.is_assignable(row.address)));
    assert_eq!(rows.len(), 200);
}

#[tokio::test]
async fn revisions_rise_across_restarts_and_blocks() {
    let (directory, state) = fresh();
    let mut last = 0;
    for _ in 0..250_000 {
        let next = state.next_revision();
        assert!(next > last);
        last = next;
        // No node takes half a block in the time of one write; this loop would. A query waits behind that write.
        if last % 10_000 == 0 {
            state.pods().await.unwrap();
        }
    }
    // A crash: nothing is closed, the next daemon opens the file as it is.
    let next = State::open(&directory.path().join("aurae.db")).unwrap();
    drop(state);
    assert!(next.next_revision() > last);
}

#[tokio::test]
async fn a_closed_file_answers_so() {
    let (_directory, state) = fresh();
    state.close().await;
    assert!(matches!(state.pods().await, Err(StateError::Closed)));
    assert!(matches!(
        state.put_image("a", "b".into()).await,
        Err(StateError::Closed)
    ));
    state.close().await;
}

#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    let (directory, state) = fresh();
    state.put_pod(pod("a", 1)).await.unwrap();
    for name in ["aurae.db", "aurae.db-wal", "aurae.db-shm"] {
        let mode = fs_err::metadata(directory.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_sandbox_takes_its_containers_along() {
    let (directory, state) = fresh();
    let sandbox = |id: &str, record: &[u8]| SandboxRow {
        id: id.into(),
        spec: vec![1, 2],
        record: record.into(),
    };
    let container = |id: &str, sandbox: &str, record: &[u8]| ContainerRow {
        id: id.into(),
        sandbox: sandbox.into(),
        spec: vec![3],
        record: record.into(),
    };
    // Nobody waits for the first ones: they are written in their order none the less.
    drop(state.put_sandbox(sandbox("b", b"new")));
    drop(state.put_sandbox(sandbox("a", b"new")));
    drop(state.put_container(container("two", "b", b"new")));
    drop(state.put_container(container("one", "a", b"new")));
    drop(state.record_container("two", b"run".into()));
    state.record_sandbox("b", b"ready".into()).await.unwrap();
    state.close().await;

    let state = State::open(&directory.path().join("aurae.db")).unwrap();
    assert_eq!(
        state.sandboxes().await.unwrap(),
        [sandbox("a", b"new"), sandbox("b", b"ready")]
    );
    assert_eq!(
        state.containers().await.unwrap(),
        [container("one", "a", b"new"), container("two", "b", b"run")]
    );
    state.remove_container("one").await.unwrap();
    state.remove_sandbox("b").await.unwrap();
    assert_eq!(state.sandboxes().await.unwrap(), [sandbox("a", b"new")]);
    assert_eq!(state.containers().await.unwrap(), []);
    // What is not there is neither removed nor recorded, and no container is without its sandbox.
    state.remove_sandbox("b").await.unwrap();
    state.record_container("two", Vec::new()).await.unwrap();
    assert!(state.put_container(container("two", "b", b"")).await.is_err());
}
