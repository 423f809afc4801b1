//! The daemon is killed under running pods: they run on, and nothing of what happened meanwhile is lost.

use crate::machine::Machine;
use crate::node::{Known, Node, pod, shell};
use auraed_api::runtime::v0::RestartPolicy;
use auraed_api::schedule::v0::Phase;

#[tokio::test]
async fn pods_outlive_the_daemon() {
    let Some(mut node) = Node::new("pods_outlive_the_daemon").await else {
        return;
    };
    let ticker = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.02; done";
    node.run(pod("ticker", RestartPolicy::Always, vec![shell("main", ticker)]))
        .await;
    let before = node.until_running("ticker").await;
    let ends = "until [ -e /tmp/go ]; do sleep 0.02; done; echo ended; exit 5";
    let ending = {
        let mut ending = pod("ending", RestartPolicy::Never, vec![shell("main", ends)]);
        ending.volumes.push(node.shared_directory("shared"));
        ending.containers[0].mounts.push(node.mount("shared", "/tmp"));
        ending
    };
    node.run(ending).await;
    node.until_running("ending").await;
    node.until_log("ticker", "main", "tick 5").await;

    node.machine.kill().await;
    // While no daemon runs one container ends, and the other goes on.
    fs_err::write(node.machine.path("shared/go"), "").unwrap();
    node.machine.until_file_contains("log", "ended").await;
    node.restart().await;

    let after = node.until_running("ticker").await;
    assert_eq!(
        after.containers[0].container_id,
        before.containers[0].container_id
    );
    assert_eq!(
        after.sandbox.as_ref().unwrap().init_pid,
        before.sandbox.as_ref().unwrap().init_pid
    );
    assert_eq!(after.containers[0].restart_count, 0);
    assert!(after.revision > before.revision);
    let ended = node.until("ending", |status| status.finished).await;
    assert_eq!(ended.phase(), Phase::Failed);
    assert_eq!(ended.containers[0].terminated().exit_code, 5);
    assert_eq!(node.log("ending", "main").await, ["ended"]);

    // No line is missing.
    let lines = node.log("ticker", "main").await;
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line, &format!("tick {}", index + 1));
    }
    assert_eq!(
        node.exec("ticker", &["echo", "still here"]).await.stdout,
        "still here\n"
    );
    node.remove("ticker").await;
    node.remove("ending").await;
    node.finish().await;
}

#[tokio::test]
async fn a_restart_that_fell_due_is_made_up_for() {
    let Some(mut node) = Node::new("a_restart_that_fell_due_is_made_up_for").await else {
        return;
    };
    let mut wanted = pod(
        "phoenix",
        RestartPolicy::Always,
        vec![shell(
            "main",
            "echo run; until [ -e /tmp/go ]; do sleep 0.02; done",
        )],
    );
    wanted.volumes.push(node.shared_directory("shared"));
    wanted.containers[0].mounts.push(node.mount("shared", "/tmp"));
    node.run(wanted).await;
    node.until_log("phoenix", "main", "run").await;
    node.machine.kill().await;
    fs_err::write(node.machine.path("shared/go"), "").unwrap();
    node.restart().await;
    node.until("phoenix", |status| status.containers[0].restart_count >= 1)
        .await;
    node.remove("phoenix").await;
    node.finish().await;
}

#[tokio::test]
async fn a_stop_goes_on_after_a_kill() {
    let Some(mut node) = Node::new("a_stop_goes_on_after_a_kill").await else {
        return;
    };
    let stubborn = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    node.run(pod(
        "stubborn",
        RestartPolicy::Always,
        vec![shell("main", stubborn)],
    ))
    .await;
    node.until_log("stubborn", "main", "ready").await;
    node.stop("stubborn", Some(2)).await;
    node.machine.kill().await;
    node.restart().await;
    let done = node.until("stubborn", |status| status.finished).await;
    assert_eq!(done.containers[0].terminated().exit_code, 137);
    node.remove("stubborn").await;
    node.finish().await;
}

#[tokio::test]
async fn cleanup_ends_what_runs() {
    let Some(mut node) = Node::new("cleanup_ends_what_runs").await else {
        return;
    };
    node.run(pod(
        "one",
        RestartPolicy::Always,
        vec![shell("main", "exec sleep 1000")],
    ))
    .await;
    node.until_running("one").await;
    node.machine.stop().await;
    // The pod runs on; finish() cleans up and finds nothing left.
    node.machine.finish().await;
}

#[tokio::test]
async fn cleanup_ends_what_a_lost_state_file_does_not_name() {
    let Some(mut node) = Node::new("cleanup_ends_what_a_lost_state_file_does_not_name").await else {
        return;
    };
    node.run(pod(
        "one",
        RestartPolicy::Always,
        vec![shell("main", "exec sleep 1000")],
    ))
    .await;
    node.until_running("one").await;
    node.machine.kill().await;
    for file in ["aurae.db", "aurae.db-wal", "aurae.db-shm"] {
        fs_err::remove_file(node.machine.path("state").join(file)).unwrap();
    }
    node.machine.finish().await;
}

#[tokio::test]
async fn a_write_that_was_cut_off_is_recovered() {
    let Some(mut machine) = Machine::new("a_write_that_was_cut_off_is_recovered") else {
        return;
    };
    machine.start().await;
    let Some(mut node) = Node::on(machine).await else {
        return;
    };
    node.run(pod(
        "kept",
        RestartPolicy::Always,
        vec![shell("main", "exec sleep 1000")],
    ))
    .await;
    let before = node.until_running("kept").await;
    node.machine.kill().await;
    // A power loss in the middle of the next write: half a frame at the end of the write-ahead log.
    let wal = node.machine.path("state/aurae.db-wal");
    let mut content = fs_err::read(&wal).unwrap();
    content.extend(std::iter::repeat_n(0x5a, 2000));
    fs_err::write(&wal, content).unwrap();
    node.restart().await;
    let after = node.until_running("kept").await;
    assert_eq!(
        after.containers[0].container_id,
        before.containers[0].container_id
    );
    node.remove("kept").await;
    node.finish().await;
}
