//! Volumes as containers see them, and as they are left behind: not at all.

use crate::node::{Known, Node, pod, shell};
use crate::schedule_life::empty;
use auraed_api::mount::v0::UpdateFilesRequest;
use auraed_api::runtime::v0::{EnvironmentVariable, RestartPolicy, environment_variable};
use auraed_api::schedule::v0::{File, Files, HostPath, HostPathType, Phase, Volume, volume};
use tonic::Code;

const SECRET: &str = "c29tZXRoaW5nIHRoYXQgbm9ib2R5IGVsc2Uga25vd3M";

fn file(path: &str, content: &str, mode: u32) -> File {
    File {
        path: path.into(),
        content: content.as_bytes().to_vec().into(),
        mode,
        owner: None,
    }
}

fn files(name: &str, files: Vec<File>, sensitive: bool) -> Volume {
    Volume {
        name: name.into(),
        source: Some(volume::Source::Files(Files { files, sensitive })),
    }
}

#[tokio::test]
async fn empty_directories_are_for_everybody_and_live_as_long_as_the_pod() {
    let Some(node) = Node::new("empty_directories_are_for_everybody_and_live_as_long_as_the_pod").await
    else {
        return;
    };
    let script = "stat -c '%a %g' /disk /memory; grep -c ' /memory tmpfs ' /proc/mounts; id -G; \
                  ls /disk /memory; touch /disk/kept /memory/kept; [ -e /disk/again ] || { touch /disk/again; exit 1; }";
    let mut wanted = pod("empty", RestartPolicy::OnFailure, vec![shell("main", script)]);
    wanted.fs_group = Some(1234);
    wanted.volumes = vec![empty("disk", false), empty("memory", true)];
    wanted.containers[0].mounts = vec![node.mount("disk", "/disk"), node.mount("memory", "/memory")];
    node.run(wanted).await;
    let done = node.until("empty", |status| status.finished).await;
    assert_eq!(
        (done.phase(), done.containers[0].restart_count),
        (Phase::Succeeded, 1)
    );
    let log = node.log("empty", "main").await;
    let expected = [
        "2777 1234",
        "2777 1234",
        "1",
        "0 1234",
        "/disk:",
        "again",
        "kept",
        "",
        "/memory:",
        "kept",
    ];
    assert_eq!(log, expected);
    node.remove("empty").await;
    assert!(!node.machine.path("state/pods/empty").exists());
    node.finish().await;
}

#[tokio::test]
async fn files_are_replaced_while_they_are_read() {
    let Some(node) = Node::new("files_are_replaced_while_they_are_read").await else {
        return;
    };
    let script = "cat /f/key /f/deep/key; stat -Lc %a /f/key; touch /f/new 2>/dev/null || echo read-only; \
                  until [ \"$(cat /f/key)\" = two ]; do sleep 0.02; done; cat /f/deep/key 2>/dev/null || echo gone";
    let mut wanted = pod("files", RestartPolicy::Never, vec![shell("main", script)]);
    wanted.volumes = vec![files(
        "f",
        vec![file("key", "one\n", 0o400), file("deep/key", "deep\n", 0o644)],
        false,
    )];
    wanted.containers[0].mounts = vec![node.mount("f", "/f")];
    node.run(wanted).await;
    node.until_log("files", "main", "read-only").await;
    let update = |volume: &str| UpdateFilesRequest {
        pod: "files".into(),
        volume: volume.into(),
        files: Some(Files {
            files: vec![file("key", "two\n", 0o400)],
            sensitive: false,
        }),
    };
    assert!(
        node.client
            .mount()
            .update_files(update("f"))
            .await
            .unwrap()
            .into_inner()
            .changed
    );
    assert!(
        !node
            .client
            .mount()
            .update_files(update("f"))
            .await
            .unwrap()
            .into_inner()
            .changed
    );
    let missing = node.client.mount().update_files(update("g")).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    node.until("files", |status| status.finished).await;
    assert_eq!(
        node.log("files", "main").await,
        ["one", "deep", "400", "read-only", "gone"]
    );
    node.remove("files").await;
    node.finish().await;
}

#[tokio::test]
async fn a_host_path_that_is_not_there_is_waited_for() {
    let Some(node) = Node::new("a_host_path_that_is_not_there_is_waited_for").await else {
        return;
    };
    let path = node.machine.path("given");
    let source = HostPath {
        path: path.display().to_string(),
        r#type: HostPathType::Directory.into(),
    };
    let mut wanted = pod(
        "host",
        RestartPolicy::Never,
        vec![shell("main", "cat /h/part/file")],
    );
    wanted.volumes = vec![Volume {
        name: "h".into(),
        source: Some(volume::Source::HostPath(source)),
    }];
    wanted.containers[0].mounts = vec![node.mount("h", "/h/part")];
    wanted.containers[0].mounts[0].sub_path = "in/side".into();
    node.run(wanted).await;
    let mut events = node
        .client
        .observe()
        .events(auraed_api::observe::v0::EventsRequest {
            pod: "host".into(),
            follow: true,
        })
        .await
        .unwrap()
        .into_inner();
    let message = loop {
        let message = events.message().await.unwrap().unwrap();
        if let Some(event) = message.event.filter(|event| event.reason == "FailedMount") {
            break event.message;
        }
    };
    let path_text = path.display();
    let expected = format!(
        "MountVolume.SetUp failed for volume \"h\" : hostPath type check failed: {path_text} is not a directory, it does not exist"
    );
    assert_eq!(message, expected);
    fs_err::create_dir_all(path.join("in/side")).unwrap();
    fs_err::write(path.join("in/side/file"), "there\n").unwrap();
    let done = node.until("host", |status| status.finished).await;
    assert_eq!(done.containers[0].terminated().exit_code, 0, "{done:?}");
    assert_eq!(node.log("host", "main").await, ["there"]);
    node.remove("host").await;
    node.finish().await;
}

#[tokio::test]
async fn secret_values_never_reach_the_disk() {
    let Some(node) = Node::new("secret_values_never_reach_the_disk").await else {
        return;
    };
    let mut wanted = pod(
        "secret",
        RestartPolicy::Always,
        vec![shell("main", "exec sleep 1000")],
    );
    wanted.volumes = vec![files("s", vec![file("key", SECRET, 0o400)], true)];
    wanted.containers[0].mounts = vec![node.mount("s", "/s")];
    wanted.containers[0].env.push(EnvironmentVariable {
        name: "SECRET".into(),
        source: Some(environment_variable::Source::Value(SECRET.into())),
        sensitive: true,
    });
    node.run(wanted).await;
    node.until_running("secret").await;
    assert_eq!(
        node.exec("secret", &["sh", "-c", "cat /s/key; echo $SECRET"])
            .await
            .stdout,
        format!("{SECRET}{SECRET}\n")
    );
    let holds = |directory: &str| {
        let found = std::process::Command::new("grep")
            .args(["-rlaF", SECRET])
            .arg(node.machine.path(directory))
            .output()
            .unwrap();
        String::from_utf8(found.stdout).unwrap()
    };
    assert_eq!(holds("state"), "");
    assert_eq!(holds("log"), "");
    assert!(!node.machine.log().contains(SECRET));
    assert!(holds("run").contains("pod.pb"));
    node.remove("secret").await;
    node.finish().await;
}
