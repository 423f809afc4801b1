//! What becomes of pods when something of them, or of the daemon, is killed.

use crate::node::{Node, pod, shell};
use auraed_api::runtime::v0::{
    EnvironmentVariable, ExecAction, Handler, Probe, RestartPolicy, environment_variable, handler,
};
use auraed_api::schedule::v0::{NowRequest, Phase, PodStatus, RemoveRequest};
use rustix::process::{Pid, Signal, kill_process};

fn kill_init(status: &PodStatus) {
    let pid = status.sandbox.as_ref().unwrap().init_pid;
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_pod_whose_init_is_killed_gets_another() {
    let Some(node) = Node::new("a_pod_whose_init_is_killed_gets_another").await else {
        return;
    };
    let mut always = pod(
        "always",
        RestartPolicy::Always,
        vec![shell("main", "echo run; exec sleep 1000")],
    );
    always.init_containers = vec![shell("init", "echo init")];
    node.run(always).await;
    kill_init(&node.until_running("always").await);
    let status = node
        .until("always", |status| {
            status.containers[0].restart_count == 1 && status.containers[0].ready
        })
        .await;
    assert_eq!(
        (status.sandbox.as_ref().unwrap().attempt, status.phase()),
        (1, Phase::Running)
    );
    assert_eq!(
        status.init_containers[0].restart_count, 1,
        "init containers run again"
    );

    node.run(pod(
        "never",
        RestartPolicy::Never,
        vec![shell("main", "exec sleep 1000")],
    ))
    .await;
    kill_init(&node.until_running("never").await);
    let done = node.until("never", |status| status.finished).await;
    assert_eq!(done.phase(), Phase::Failed);
    node.remove("always").await;
    node.remove("never").await;
    node.finish().await;
}

#[tokio::test]
async fn an_init_that_dies_with_the_daemon_is_noticed() {
    let Some(mut node) = Node::new("an_init_that_dies_with_the_daemon_is_noticed").await else {
        return;
    };
    node.run(pod(
        "always",
        RestartPolicy::Always,
        vec![shell("main", "exec sleep 1000")],
    ))
    .await;
    node.run(pod(
        "stopped",
        RestartPolicy::Always,
        vec![shell("main", "exec sleep 1000")],
    ))
    .await;
    let always = node.until_running("always").await;
    let stopped = node.until_running("stopped").await;
    node.machine.kill().await;
    kill_init(&always);
    // This one lives, but does not answer: it must not run beside its successor.
    let hung = stopped.sandbox.as_ref().unwrap().init_pid;
    let hung = Pid::from_raw(hung.cast_signed()).unwrap();
    kill_process(hung, Signal::STOP).unwrap();
    node.restart().await;
    for name in ["always", "stopped"] {
        let status = node
            .until(name, |status| {
                status.containers[0].ready && status.containers[0].restart_count == 1
            })
            .await;
        assert_eq!(status.sandbox.unwrap().attempt, 1);
    }
    // It may be a zombie still: whoever inherited it from the killed daemon takes its time.
    let state = fs_err::read_to_string(format!("/proc/{}/stat", hung.as_raw_nonzero())).unwrap_or_default();
    assert!(
        state.is_empty() || state.contains(") Z "),
        "the old init is gone: {state}"
    );
    node.remove("always").await;
    node.remove("stopped").await;
    node.finish().await;
}

#[tokio::test]
async fn secrets_that_are_gone_are_waited_for() {
    let Some(mut node) = Node::new("secrets_that_are_gone_are_waited_for").await else {
        return;
    };
    let mut wanted = pod(
        "secret",
        RestartPolicy::Always,
        vec![shell("main", "echo $SECRET; exec sleep 1000")],
    );
    wanted.containers[0].env.push(EnvironmentVariable {
        name: "SECRET".into(),
        source: Some(environment_variable::Source::Value("hush".into())),
        sensitive: true,
    });
    node.run(wanted.clone()).await;
    let status = node.until_running("secret").await;
    node.machine.kill().await;
    // What a reboot does.
    kill_init(&status);
    fs_err::remove_file(node.machine.path("run/pods/secret/pod.pb")).unwrap();
    node.restart().await;
    let waiting = node
        .until("secret", |status| status.reason == "SecretsMissing")
        .await;
    assert!(
        !waiting.containers[0].ready && !waiting.message.is_empty(),
        "{waiting:?}"
    );
    node.run(wanted).await;
    let status = node.until("secret", |status| status.containers[0].ready).await;
    assert_eq!(
        (status.reason.as_str(), status.containers[0].restart_count),
        ("", 1)
    );
    node.until_log("secret", "main", "hush").await;
    node.remove("secret").await;
    node.finish().await;
}

#[tokio::test]
async fn a_finished_pod_stays_as_it_was() {
    let Some(mut node) = Node::new("a_finished_pod_stays_as_it_was").await else {
        return;
    };
    let script = "echo bye; echo -n why > /dev/termination-log; exit 3";
    node.run(pod("done", RestartPolicy::Never, vec![shell("main", script)]))
        .await;
    node.until("done", |status| status.finished).await;
    // A stop is answered when it is written, and so is all that was before it.
    node.stop("done", None).await;
    let before = node.until("done", |_| true).await;
    node.machine.kill().await;
    node.restart().await;
    let after = node.until("done", |_| true).await;
    assert!(after.revision > before.revision);
    assert_eq!(
        PodStatus { revision: 0, ..after },
        PodStatus {
            revision: 0,
            ..before
        }
    );
    assert_eq!(node.log("done", "main").await, ["bye"]);
    node.remove("done").await;
    node.finish().await;
}

#[tokio::test]
async fn readiness_outlives_the_daemon() {
    let Some(mut node) = Node::new("readiness_outlives_the_daemon").await else {
        return;
    };
    let probe = |command: &[&str], initial_delay_seconds: u32| {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        let handler = Handler {
            action: Some(handler::Action::Exec(ExecAction { command })),
        };
        Some(Probe {
            handler: Some(handler),
            period_seconds: 1000,
            initial_delay_seconds,
            ..Probe::default()
        })
    };
    let mut ready = shell("ready", "exec sleep 1000");
    ready.readiness_probe = probe(&["sh", "-c", "true"], 0);
    let mut never = shell("never", "exec sleep 1000");
    never.readiness_probe = probe(&["sh", "-c", "false"], 0);
    node.run(pod("probed", RestartPolicy::Always, vec![ready, never]))
        .await;
    node.until("probed", |status| status.containers[0].ready).await;
    // It is answered when it is written, and so is all that was before it.
    node.run(pod("written", RestartPolicy::Never, vec![shell("main", "true")]))
        .await;
    node.machine.kill().await;
    node.restart().await;
    let status = node.until("probed", |_| true).await;
    let shown: Vec<bool> = status
        .containers
        .iter()
        .map(|container| container.ready)
        .collect();
    assert_eq!(shown, [true, false], "from the first moment on");
    node.remove("probed").await;
    node.remove("written").await;
    node.finish().await;
}

/// How far a pod is when the daemon is killed.
const POINTS: [fn(&PodStatus) -> bool; 4] = [
    |_| true,
    |status| status.sandbox.as_ref().is_some_and(|sandbox| sandbox.ready),
    |status| status.containers[0].ready,
    |status| status.init_containers[0].ready,
];

#[tokio::test]
async fn a_daemon_that_is_killed_at_any_point_goes_on_and_leaves_nothing() {
    let name = "a_daemon_that_is_killed_at_any_point_goes_on_and_leaves_nothing";
    let Some(mut node) = Node::new(name).await else {
        return;
    };
    let wanted = |name: &str| {
        let main = shell("main", "trap 'exit 0' TERM; sleep 1000 & wait");
        let mut wanted = pod(name, RestartPolicy::Always, vec![main]);
        wanted.init_containers = vec![shell("init", "true")];
        wanted
    };
    for (round, point) in POINTS.into_iter().enumerate() {
        // One pod is on its way when the daemon is killed, another has just been sent.
        let (early, late) = (format!("early-{round}"), format!("late-{round}"));
        node.run(wanted(&early)).await;
        node.until(&early, point).await;
        let (client, pod) = (node.client.clone(), wanted(&late));
        let sent = tokio::spawn(async move { client.schedule().now(NowRequest { pod: Some(pod) }).await });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        node.machine.kill().await;
        // Answered or not: that was the daemon's business.
        let _ = sent.await.unwrap();
        node.restart().await;
        node.run(wanted(&late)).await;
        for name in [&early, &late] {
            let status = node.until(name, |status| status.containers[0].ready).await;
            assert_eq!(status.phase(), Phase::Running, "{status:?}");
            assert!(status.init_containers[0].ready, "{status:?}");
        }
    }
    for round in 0..POINTS.len() {
        let (client, pod) = (node.client.clone(), format!("early-{round}"));
        let request = RemoveRequest {
            pod: pod.clone(),
            grace_period_seconds: Some(5),
        };
        let removal = tokio::spawn(async move { client.schedule().remove(request).await });
        if round % 2 == 0 {
            node.stop(&format!("late-{round}"), Some(5)).await;
        }
        node.machine.kill().await;
        let _ = removal.await.unwrap();
        node.restart().await;
        node.remove(&pod).await;
        node.remove(&format!("late-{round}")).await;
    }
    node.finish().await;
}
