//! What the pod engine does in a pod's life, on a real kernel: order, probes, hooks, ends and what is told of them.

use crate::node::{Known, Node, pod, shell};
use auraed_api::observe::v0::EventsRequest;
use auraed_api::runtime::v0::{
    ExecAction, Handler, ImagePullPolicy, Probe, Resources, RestartPolicy, SecurityContext,
    TerminationMessagePolicy, handler,
};
use auraed_api::schedule::v0::{
    ContainerStatus, EmptyDirectory, Phase, Pod, Volume, container_state, volume,
};

pub(crate) fn empty(name: &str, memory: bool) -> Volume {
    let source = EmptyDirectory {
        memory,
        size_limit_bytes: None,
    };
    Volume {
        name: name.into(),
        source: Some(volume::Source::EmptyDirectory(source)),
    }
}

fn exec(command: &[&str]) -> Handler {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    Handler {
        action: Some(handler::Action::Exec(ExecAction { command })),
    }
}

fn probe(command: &[&str]) -> Option<Probe> {
    Some(Probe {
        handler: Some(exec(command)),
        period_seconds: 1,
        failure_threshold: 1,
        ..Probe::default()
    })
}

/// Mounts a volume of that name at /v in every container.
pub(crate) fn with_shared(node: &Node, mut pod: Pod) -> Pod {
    pod.volumes.push(empty("shared", false));
    for container in pod.init_containers.iter_mut().chain(&mut pod.containers) {
        container.mounts.push(node.mount("shared", "/v"));
    }
    pod
}

fn last_message(status: &ContainerStatus) -> String {
    match status.last_state.as_ref().and_then(|state| state.state.clone()) {
        Some(container_state::State::Terminated(end)) => end.message,
        other => panic!("{} has not ended before: {other:?}", status.name),
    }
}

async fn events(node: &Node) -> Vec<String> {
    let mut events = node
        .client
        .observe()
        .events(EventsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut texts = Vec::new();
    while let Some(message) = events.message().await.unwrap() {
        texts.extend(
            message
                .event
                .map(|event| format!("{}: {}", event.reason, event.message)),
        );
    }
    texts
}

#[tokio::test]
async fn init_containers_and_sidecars_come_in_order_and_go_in_reverse() {
    let Some(node) = Node::new("init_containers_and_sidecars_come_in_order_and_go_in_reverse").await else {
        return;
    };
    let serve = |name: &str| {
        let script = format!(
            "echo start {name} >> /v/log; trap 'echo stop {name} >> /v/log; exit 0' TERM; while :; do sleep 0.02; done"
        );
        let mut container = shell(name, &script);
        container.restart_policy = RestartPolicy::Always.into();
        container
    };
    let main = shell(
        "main",
        "until [ $(grep -c start /v/log) = 4 ]; do sleep 0.02; done; echo main >> /v/log; sleep 0.1",
    );
    let mut wanted = pod("ordered", RestartPolicy::Never, vec![main]);
    wanted.init_containers = vec![
        shell("first", "echo start first >> /v/log"),
        serve("one"),
        shell("second", "echo start second >> /v/log"),
        serve("two"),
    ];
    let mut wanted = with_shared(&node, wanted);
    wanted.volumes[0] = node.shared_directory("shared");
    node.run(wanted).await;
    let done = node.until("ordered", |status| status.finished).await;
    assert_eq!(done.phase(), Phase::Succeeded);
    assert!(
        done.init_containers
            .iter()
            .all(|container| container.terminated().exit_code == 0),
        "{done:?}"
    );
    let log = fs_err::read_to_string(node.machine.path("shared/log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    // Sidecars start in order, but nobody waits for what they do then.
    let place = |line: &str| {
        lines
            .iter()
            .position(|found| *found == line)
            .unwrap_or_else(|| panic!("{line}: {lines:?}"))
    };
    assert!(
        place("start first") < place("start one") && place("start second") < place("start two"),
        "{lines:?}"
    );
    assert_eq!(lines[lines.len() - 3..], ["main", "stop two", "stop one"]);
    node.remove("ordered").await;
    node.finish().await;
}

#[tokio::test]
async fn termination_messages_are_read() {
    let Some(node) = Node::new("termination_messages_are_read").await else {
        return;
    };
    let mut own = shell("own", "echo -n done > /dev/termination-log");
    own.termination_message_path = String::new();
    let mut placed = shell("placed", "echo -n placed > /msg/text; exit 1");
    placed.termination_message_path = "/msg/text".into();
    let mut logged = shell("logged", "echo from the log; exit 3");
    logged.termination_message_policy = TerminationMessagePolicy::FallbackToLogsOnError.into();
    let mut quiet = shell("quiet", "echo from the log");
    quiet.termination_message_policy = TerminationMessagePolicy::FallbackToLogsOnError.into();
    node.run(pod(
        "messages",
        RestartPolicy::Never,
        vec![own, placed, logged, quiet],
    ))
    .await;
    let done = node.until("messages", |status| status.finished).await;
    let messages: Vec<String> = done
        .containers
        .iter()
        .map(|container| container.terminated().message)
        .collect();
    assert_eq!(messages, ["done", "placed", "from the log\n", ""]);
    assert_eq!(done.phase(), Phase::Failed);
    node.remove("messages").await;
    node.finish().await;
}

#[tokio::test]
async fn crashes_are_delayed_and_told() {
    let Some(node) = Node::new("crashes_are_delayed_and_told").await else {
        return;
    };
    let script = "echo run; echo -n why > /dev/termination-log; exit 7";
    node.run(pod(
        "crashing",
        RestartPolicy::Always,
        vec![shell("main", script)],
    ))
    .await;
    let waits =
        |container: &ContainerStatus| container.waiting_reason().as_deref() == Some("CrashLoopBackOff");
    let status = node
        .until("crashing", |status| waits(&status.containers[0]))
        .await;
    let container = &status.containers[0];
    assert_eq!((container.restart_count, status.phase()), (1, Phase::Running));
    assert_eq!(last_message(container), "why");
    assert_eq!(node.log("crashing", "main").await, ["run"]);
    let told =
        "BackOff: Back-off restarting failed container main in pod crashing_default(crashing)".to_owned();
    assert!(events(&node).await.contains(&told));
    node.remove("crashing").await;
    node.finish().await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let Some(node) = Node::new("what_cannot_start_says_why").await else {
        return;
    };
    let mut missing = shell("missing", "");
    missing.command = vec!["no-such-program".into()];
    node.run(pod("broken", RestartPolicy::Never, vec![missing])).await;
    let done = node.until("broken", |status| status.finished).await;
    let end = done.containers[0].terminated();
    assert_eq!(
        (end.exit_code, end.reason.as_str(), done.phase()),
        (128, "StartError", Phase::Failed)
    );
    assert!(end.message.contains("no-such-program"), "{end:?}");

    let mut absent = shell("absent", "");
    absent.image = "example.test/absent:1".into();
    let mut nameless = shell("nameless", "");
    nameless.image = "Not A Name".into();
    let mut root = shell("root", "");
    root.security = Some(SecurityContext {
        run_as_non_root: true,
        ..SecurityContext::default()
    });
    let fine = shell("fine", "exec sleep 1000");
    node.run(pod(
        "waiting",
        RestartPolicy::Always,
        vec![absent, nameless, root, fine],
    ))
    .await;
    let reasons = [
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
    ];
    let status = node
        .until("waiting", |status| {
            let waits =
                |place: usize| status.containers[place].waiting_reason().as_deref() == Some(reasons[place]);
            (0..3).all(waits) && status.containers[3].ready
        })
        .await;
    assert_eq!(status.phase(), Phase::Pending);
    node.remove("broken").await;
    node.remove("waiting").await;
    node.finish().await;
}

#[tokio::test]
async fn a_registry_that_is_away_is_backed_off_from() {
    let Some(node) = Node::new("a_registry_that_is_away_is_backed_off_from").await else {
        return;
    };
    let mut away = shell("main", "");
    // Nobody listens there, in the machine's own network.
    away.image = "127.0.0.1:1/absent:1".into();
    away.image_pull_policy = ImagePullPolicy::Always.into();
    node.run(pod("pulling", RestartPolicy::Always, vec![away])).await;
    for reason in ["ErrImagePull", "ImagePullBackOff"] {
        node.until("pulling", |status| {
            status.containers[0].waiting_reason().as_deref() == Some(reason)
        })
        .await;
    }
    let events = events(&node).await;
    assert!(
        events.contains(&"Pulling: Pulling image \"127.0.0.1:1/absent:1\"".to_owned()),
        "{events:?}"
    );
    assert!(
        events.contains(&"BackOff: Back-off pulling image \"127.0.0.1:1/absent:1\"".to_owned()),
        "{events:?}"
    );
    node.remove("pulling").await;
    node.finish().await;
}

#[tokio::test]
async fn memory_that_runs_out_is_told() {
    let Some(node) = Node::new("memory_that_runs_out_is_told").await else {
        return;
    };
    let mut eater = shell("main", "exec tail /dev/zero");
    eater.resources = Some(Resources {
        memory_limit_bytes: Some(16 << 20),
        ..Resources::default()
    });
    node.run(pod("eater", RestartPolicy::Never, vec![eater])).await;
    let done = node.until("eater", |status| status.finished).await;
    let end = done.containers[0].terminated();
    assert_eq!((end.exit_code, end.reason.as_str()), (137, "OOMKilled"));
    node.remove("eater").await;
    node.finish().await;
}

#[tokio::test]
async fn probes_decide_over_readiness_and_restarts() {
    let Some(node) = Node::new("probes_decide_over_readiness_and_restarts").await else {
        return;
    };
    let mut main = shell("main", "exec sleep 1000");
    main.startup_probe = probe(&["sh", "-c", "true"]);
    main.readiness_probe = probe(&["sh", "-c", "[ -e /v/ready ]"]);
    main.liveness_probe = probe(&["sh", "-c", "[ ! -e /v/dead ]"]);
    main.readiness_probe.as_mut().unwrap().failure_threshold = 1;
    let mut wanted = pod("probed", RestartPolicy::Always, vec![main]);
    wanted.grace_period_seconds = Some(1);
    node.run(with_shared(&node, wanted)).await;
    let status = node.until("probed", |status| status.containers[0].started).await;
    assert!(!status.containers[0].ready);
    node.exec("probed", &["sh", "-c", ": > /v/ready"]).await;
    node.until("probed", |status| status.containers[0].ready).await;
    node.exec("probed", &["busybox", "rm", "/v/ready"]).await;
    node.until("probed", |status| !status.containers[0].ready).await;
    node.exec("probed", &["sh", "-c", ": > /v/dead"]).await;
    node.until("probed", |status| status.containers[0].restart_count == 1)
        .await;
    let events = events(&node).await;
    assert!(
        events.contains(&"Killing: Container main failed liveness probe, will be restarted".to_owned()),
        "{events:?}"
    );
    node.remove("probed").await;
    node.finish().await;
}

#[tokio::test]
async fn hooks_run_after_the_start_and_before_the_stop() {
    let Some(node) = Node::new("hooks_run_after_the_start_and_before_the_stop").await else {
        return;
    };
    let mut hooked = shell(
        "hooked",
        "trap 'echo term >> /v/log; exit 0' TERM; while :; do sleep 0.02; done",
    );
    hooked.post_start = Some(exec(&["sh", "-c", "sleep 0.2; echo post >> /v/log"]));
    hooked.pre_stop = Some(exec(&["sh", "-c", "echo pre >> /v/log"]));
    let next = shell(
        "next",
        "echo next >> /v/log; trap 'exit 0' TERM; while :; do sleep 0.02; done",
    );
    let mut wanted = with_shared(&node, pod("hooked", RestartPolicy::Always, vec![hooked, next]));
    wanted.volumes[0] = node.shared_directory("shared");
    node.run(wanted).await;
    node.until_running("hooked").await;
    node.machine.until_file_contains("shared", "next").await;
    node.stop("hooked", Some(10)).await;
    let done = node.until("hooked", |status| status.finished).await;
    assert_eq!(done.phase(), Phase::Succeeded, "{done:?}");
    let log = fs_err::read_to_string(node.machine.path("shared/log")).unwrap();
    assert_eq!(log.lines().collect::<Vec<_>>(), ["post", "next", "pre", "term"]);
    node.remove("hooked").await;
    node.finish().await;
}

#[tokio::test]
async fn a_deadline_fails_the_pod_and_a_changed_image_restarts_its_container() {
    let name = "a_deadline_fails_the_pod_and_a_changed_image_restarts_its_container";
    let Some(node) = Node::new(name).await else { return };
    let mut wanted = pod(
        "timed",
        RestartPolicy::Always,
        vec![shell("main", "exec sleep 1000")],
    );
    wanted.grace_period_seconds = Some(1);
    node.run(wanted.clone()).await;
    node.until_running("timed").await;
    wanted.containers[0].image = wanted.containers[0].image.replace(":1", "");
    wanted.generation = 2;
    node.run(wanted.clone()).await;
    // The new name is not on the node.
    node.until("timed", |status| {
        status.containers[0].waiting_reason().as_deref() == Some("ErrImageNeverPull")
    })
    .await;
    wanted.containers[0].image.push_str(":1");
    wanted.generation = 3;
    node.run(wanted.clone()).await;
    let status = node.until("timed", |status| status.containers[0].ready).await;
    assert_eq!(
        (status.observed_generation, status.containers[0].restart_count),
        (3, 1)
    );
    wanted.active_deadline_seconds = Some(1);
    node.run(wanted).await;
    let done = node.until("timed", |status| status.finished).await;
    assert_eq!(
        (done.phase(), done.reason.as_str(), done.stopping),
        (Phase::Failed, "DeadlineExceeded", false)
    );
    node.remove("timed").await;
    node.finish().await;
}
