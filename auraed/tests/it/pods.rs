//! Pods from their start to their end, over the API.

use crate::machine::Machine;
use crate::node::{Known, Node, pod, shell};
use auraed_api::observe::v0::{EventsRequest, GetTimelineRequest};
use auraed_api::runtime::v0::{RemoveImageRequest, RestartPolicy, SignalRequest};
use auraed_api::schedule::v0::{ListRequest, Phase};
use tonic::Code;

#[tokio::test]
async fn a_pod_runs_writes_its_log_and_completes() {
    let Some(node) = Node::new("a_pod_runs_writes_its_log_and_completes").await else {
        return;
    };
    let script = "echo out; echo err >&2; echo FROM_IMAGE=$FROM_IMAGE OWN=$OWN; id -u; hostname";
    let mut wanted = pod("once", RestartPolicy::Never, vec![shell("main", script)]);
    wanted.containers[0]
        .env
        .push(auraed_api::runtime::v0::EnvironmentVariable {
            name: "OWN".into(),
            sensitive: false,
            source: Some(auraed_api::runtime::v0::environment_variable::Source::Value(
                "mine".into(),
            )),
        });
    node.run(wanted).await;
    let done = node.until("once", |status| status.finished).await;
    assert_eq!(done.phase(), Phase::Succeeded, "{done:?}");
    let ended = done.containers[0].terminated();
    assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"));
    // Two pipes have no order between them.
    let (errors, log): (Vec<_>, Vec<_>) = node
        .log("once", "main")
        .await
        .into_iter()
        .partition(|line| line == "err");
    assert_eq!(log, ["out", "FROM_IMAGE=yes OWN=mine", "0", "once"]);
    assert_eq!(errors.len(), 1);

    let steps = node
        .client
        .observe()
        .get_timeline(GetTimelineRequest { pod: "once".into() })
        .await
        .unwrap();
    let names: Vec<_> = steps
        .get_ref()
        .steps
        .iter()
        .map(|step| step.name.as_str())
        .collect();
    assert!(
        names.contains(&"sandbox") && names.contains(&"container"),
        "{names:?}"
    );
    let mut events = node
        .client
        .observe()
        .events(EventsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut reasons = Vec::new();
    while let Some(message) = events.message().await.unwrap() {
        reasons.extend(message.event.map(|event| event.reason));
    }
    assert!(reasons.contains(&"Started".to_owned()), "{reasons:?}");
    node.remove("once").await;
    node.finish().await;
}

#[tokio::test]
async fn containers_share_the_pods_address_and_pods_reach_each_other() {
    let Some(node) = Node::new("containers_share_the_pods_address_and_pods_reach_each_other").await else {
        return;
    };
    let serve = "mkdir -p /tmp/www && echo hello > /tmp/www/index.html && exec httpd -f -p 80 -h /tmp/www";
    let beside = "until wget -q -O - http://127.0.0.1/ ; do sleep 0.1; done; exec sleep 1000";
    let containers = vec![shell("web", serve), shell("beside", beside)];
    node.run(pod("web", RestartPolicy::Always, containers)).await;
    let web = node
        .until("web", |status| status.containers.iter().all(|c| c.ready))
        .await;
    let address = web.sandbox.unwrap().addresses[0].clone();
    assert!(address.starts_with("10.88."), "{address}");
    node.until_log("web", "beside", "hello").await;
    let fetch = shell("main", &format!("wget -q -O - http://{address}/"));
    node.run(pod("peer", RestartPolicy::OnFailure, vec![fetch])).await;
    node.until("peer", |status| status.finished).await;
    assert_eq!(node.log("peer", "main").await, ["hello"]);
    node.remove("web").await;
    node.remove("peer").await;
    node.finish().await;
}

#[tokio::test]
async fn logs_are_followed_to_their_end() {
    let Some(node) = Node::new("logs_are_followed_to_their_end").await else {
        return;
    };
    let script =
        "for i in $(seq 1 300); do echo line $i; done; until [ -e /tmp/go ]; do sleep 0.02; done; echo last";
    node.run(pod("talker", RestartPolicy::Never, vec![shell("main", script)]))
        .await;
    node.until_running("talker").await;
    let following = node.follow("talker", "main", None);
    let tail = node.follow("talker", "main", Some(0));
    node.until_log("talker", "main", "line 300").await;
    assert_eq!(
        node.exec("talker", &["busybox", "touch", "/tmp/go"]).await.code,
        0
    );
    let lines = following.await.unwrap();
    let expected: Vec<_> = (1..=300)
        .map(|i| format!("line {i}"))
        .chain(["last".into()])
        .collect();
    assert_eq!(lines, expected);
    assert_eq!(tail.await.unwrap().last().map(String::as_str), Some("last"));
    assert_eq!(node.tail("talker", "main", 2).await, ["line 300", "last"]);
    node.remove("talker").await;
    let status = node.try_log("talker", "main").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    node.finish().await;
}

#[tokio::test]
async fn rotated_logs_are_whole() {
    let Some(mut machine) = Machine::new("rotated_logs_are_whole") else {
        return;
    };
    fs_err::write(
        machine.path("auraed.toml"),
        "[container_logs]\nmax_bytes = 8192\nmax_files = 50\n",
    )
    .unwrap();
    machine.start().await;
    let Some(node) = Node::on(machine).await else {
        return;
    };
    let script = "until [ -e /tmp/go ]; do sleep 0.02; done; for i in $(seq 1 3000); do echo line $i; done";
    node.run(pod("talker", RestartPolicy::Never, vec![shell("main", script)]))
        .await;
    node.until_running("talker").await;
    let following = node.follow("talker", "main", None);
    assert_eq!(
        node.exec("talker", &["busybox", "touch", "/tmp/go"]).await.code,
        0
    );
    let expected: Vec<_> = (1..=3000).map(|i| format!("line {i}")).collect();
    assert_eq!(following.await.unwrap(), expected);
    assert_eq!(node.log("talker", "main").await, expected);
    assert_eq!(node.tail("talker", "main", 1500).await, expected[1500..]);
    node.remove("talker").await;
    node.finish().await;
}

#[tokio::test]
async fn programs_run_in_a_container() {
    let Some(node) = Node::new("programs_run_in_a_container").await else {
        return;
    };
    node.run(pod(
        "host",
        RestartPolicy::Always,
        vec![shell("main", "exec sleep 1000")],
    ))
    .await;
    node.until_running("host").await;
    let done = node
        .exec("host", &["sh", "-c", "echo out; echo err >&2; exit 7"])
        .await;
    assert_eq!(
        (done.stdout.as_str(), done.stderr.as_str(), done.code),
        ("out\n", "err\n", 7)
    );
    let done = node.exec_with("host", &["cat"], b"some input\n", false).await;
    assert_eq!((done.stdout.as_str(), done.code), ("some input\n", 0));
    let large = vec![b'x'; 3_000_000];
    let done = node
        .exec_with("host", &["busybox", "md5sum"], &large, false)
        .await;
    assert_eq!(done.code, 0);
    let done = node
        .exec("host", &["sh", "-c", "head -c 3000000 /dev/zero"])
        .await;
    assert_eq!((done.stdout.len(), done.code), (3_000_000, 0));
    let done = node
        .exec_with("host", &["sh", "-c", "busybox tty; busybox stty size"], b"", true)
        .await;
    assert!(
        done.stdout.contains("/dev/pts/") && done.stdout.contains("24 80"),
        "{done:?}"
    );
    // What a program leaves in the background keeps its pipe, and not its client.
    let done = node
        .exec("host", &["sh", "-c", "sleep 1000 & echo started"])
        .await;
    assert_eq!((done.stdout.as_str(), done.code), ("started\n", 0));
    let status = node.try_exec("host", &["no-such-program"]).await.unwrap_err();
    assert!(status.message().contains("no-such-program"), "{status:?}");
    node.remove("host").await;
    let status = node.try_exec("host", &["true"]).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    node.finish().await;
}

#[tokio::test]
async fn a_client_that_goes_takes_its_program_along() {
    let Some(node) = Node::new("a_client_that_goes_takes_its_program_along").await else {
        return;
    };
    node.run(pod(
        "host",
        RestartPolicy::Always,
        vec![shell("main", "exec sleep 1000")],
    ))
    .await;
    node.until_running("host").await;
    let client = node.start_exec("host", &["sleep", "4321"]).await;
    let count = "busybox ps | busybox grep -c '[s]leep 4321'";
    assert_eq!(node.exec("host", &["sh", "-c", count]).await.stdout, "1\n");
    drop(client);
    let gone = format!("while [ $({count}) != 0 ]; do sleep 0.02; done");
    assert_eq!(node.exec("host", &["sh", "-c", &gone]).await.code, 0);
    node.remove("host").await;
    node.finish().await;
}

#[tokio::test]
async fn a_stop_gives_time_and_then_kills() {
    let Some(node) = Node::new("a_stop_gives_time_and_then_kills").await else {
        return;
    };
    let polite = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    node.run(pod("polite", RestartPolicy::Always, vec![shell("main", polite)]))
        .await;
    node.until_log("polite", "main", "ready").await;
    node.stop("polite", Some(20)).await;
    let done = node.until("polite", |status| status.finished).await;
    assert_eq!(done.containers[0].terminated().exit_code, 3);
    assert_eq!(node.log("polite", "main").await, ["ready", "bye"]);

    let stubborn = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    node.run(pod(
        "stubborn",
        RestartPolicy::Always,
        vec![shell("main", stubborn)],
    ))
    .await;
    node.until_log("stubborn", "main", "ready").await;
    node.stop("stubborn", Some(1)).await;
    let done = node.until("stubborn", |status| status.finished).await;
    assert_eq!(done.containers[0].terminated().exit_code, 137);
    // Both repeats of what was done, and acts on what never was, succeed.
    node.stop("stubborn", None).await;
    node.stop("never-was", None).await;
    for pod in ["polite", "stubborn", "never-was"] {
        node.remove(pod).await;
    }
    node.finish().await;
}

#[tokio::test]
async fn restarts_follow_the_policy() {
    let Some(node) = Node::new("restarts_follow_the_policy").await else {
        return;
    };
    let count = "echo run; exit 1";
    node.run(pod("never", RestartPolicy::Never, vec![shell("main", count)]))
        .await;
    node.run(pod(
        "on-failure",
        RestartPolicy::OnFailure,
        vec![shell("main", "exit 0")],
    ))
    .await;
    node.run(pod("always", RestartPolicy::Always, vec![shell("main", count)]))
        .await;
    let never = node.until("never", |status| status.finished).await;
    assert_eq!(
        (never.phase(), never.containers[0].restart_count),
        (Phase::Failed, 0)
    );
    let well = node.until("on-failure", |status| status.finished).await;
    assert_eq!(
        (well.phase(), well.containers[0].restart_count),
        (Phase::Succeeded, 0)
    );
    let waiting = |reason: &'static str| {
        move |status: &auraed_api::schedule::v0::PodStatus| {
            status.containers[0].waiting_reason().as_deref() == Some(reason)
        }
    };
    let again = node.until("always", waiting("CrashLoopBackOff")).await;
    assert!(
        again.containers[0].restart_count >= 1 || again.containers[0].last_state.is_some(),
        "{again:?}"
    );
    assert_eq!(
        node.previous_log("always", "main")
            .await
            .unwrap_or_else(|_| vec!["run".into()]),
        ["run"]
    );
    for pod in ["never", "on-failure", "always"] {
        node.remove(pod).await;
    }
    node.finish().await;
}

#[tokio::test]
async fn a_signal_reaches_the_main_process() {
    let Some(node) = Node::new("a_signal_reaches_the_main_process").await else {
        return;
    };
    let script = "trap 'echo got it; exit 0' USR1; echo ready; while :; do sleep 0.05; done";
    node.run(pod("listener", RestartPolicy::Never, vec![shell("main", script)]))
        .await;
    node.until_log("listener", "main", "ready").await;
    let container = Some(node.reference("listener", "main"));
    let request = SignalRequest {
        container: container.clone(),
        signal: 10,
    };
    node.client.runtime().signal(request).await.unwrap();
    node.until("listener", |status| status.finished).await;
    assert_eq!(node.log("listener", "main").await, ["ready", "got it"]);
    let bad = SignalRequest {
        container,
        signal: 65,
    };
    assert_eq!(
        node.client.runtime().signal(bad).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    node.remove("listener").await;
    node.finish().await;
}

#[tokio::test]
async fn an_image_in_use_stays() {
    let Some(node) = Node::new("an_image_in_use_stays").await else {
        return;
    };
    node.run(pod(
        "user",
        RestartPolicy::Always,
        vec![shell("main", "exec sleep 1000")],
    ))
    .await;
    node.until_running("user").await;
    let request = RemoveImageRequest {
        reference: crate::archive::BUSYBOX.into(),
        unless_used: true,
    };
    let status = node
        .client
        .images()
        .remove_image(request.clone())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    node.remove("user").await;
    node.client.images().remove_image(request).await.unwrap();
    assert!(
        node.client
            .schedule()
            .list(ListRequest {})
            .await
            .unwrap()
            .into_inner()
            .statuses
            .is_empty()
    );
    node.finish().await;
}
