//! Programs in containers of the executive, and what is known of the runtime.

use super::{by_id, running};
use crate::machine::PATIENCE;
use crate::node::Node;
use api::exec_response::Event as Output;
use auraed_api::runtime::v0 as api;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

async fn exec(node: &Node, script: &str) -> (mpsc::Sender<api::ExecRequest>, Streaming<api::ExecResponse>) {
    let start = api::ExecStart {
        container: Some(by_id("main")),
        command: vec!["sh".into(), "-c".into(), script.into()],
        ..api::ExecStart::default()
    };
    let (input, requests) = mpsc::channel(1);
    let request = api::ExecRequest {
        event: Some(api::exec_request::Event::Start(start)),
    };
    input.send(request).await.unwrap();
    let answers = node.client.runtime().exec(ReceiverStream::new(requests)).await;
    (input, answers.unwrap().into_inner())
}

async fn text(mut answers: Streaming<api::ExecResponse>) -> (String, i32) {
    let mut text = Vec::new();
    loop {
        let message = tokio::time::timeout(PATIENCE, answers.message()).await;
        match message.unwrap().unwrap().unwrap().event.unwrap() {
            Output::Stdout(bytes) | Output::Stderr(bytes) => text.extend(bytes),
            Output::ExitCode(code) => return (String::from_utf8(text).unwrap(), code),
        }
    }
}

#[tokio::test]
async fn a_program_runs_in_a_container_by_its_id() {
    let Some(node) = Node::new("a_program_runs_in_a_container_by_its_id").await else {
        return;
    };
    running(
        &node,
        "main",
        "trap 'exit 9' USR1; while :; do sleep 0.05; done",
        |_| {},
    )
    .await;
    let (_input, answers) = exec(&node, "echo out; echo err >&2; exit 4").await;
    let (output, code) = text(answers).await;
    assert!(output.contains("out\n") && output.contains("err\n"), "{output:?}");
    assert_eq!(code, 4);

    // One whose client goes away is killed, with what it started.
    let (input, mut answers) = exec(&node, "sleep 4321 & echo begun; sleep 4321").await;
    assert!(answers.message().await.unwrap().is_some());
    drop((input, answers));
    // Also if it goes away while the program is being started.
    for moment in 0..25 {
        let patience = std::time::Duration::from_micros(moment * 400);
        let _ = tokio::time::timeout(patience, exec(&node, "sleep 4321 & sleep 4321")).await;
    }
    let left = "until ! grep -qs 4321 /proc/[0-9]*/cmdline; do sleep 0.05; done; echo none";
    // It must not find itself.
    let (_input, answers) = exec(&node, &left.replace("4321", "[4]321")).await;
    assert_eq!(text(answers).await, ("none\n".to_owned(), 0));

    let signal = api::SignalRequest {
        container: Some(by_id("main")),
        signal: 10,
    };
    node.client.runtime().signal(signal).await.unwrap();
    let mut status = node.get_container("main").await.unwrap();
    while status.state() == api::ContainerState::Running {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        status = node.get_container("main").await.unwrap();
    }
    assert_eq!(status.exit_code, 9);
    node.finish().await;
}

#[tokio::test]
async fn a_program_that_is_overdue_is_gone_when_that_is_told() {
    let Some(node) = Node::new("a_program_that_is_overdue_is_gone_when_that_is_told").await else {
        return;
    };
    running(&node, "main", "while :; do sleep 0.05; done", |_| {}).await;
    for _time in 0..3 {
        let start = api::ExecStart {
            container: Some(by_id("main")),
            command: vec!["sleep".into(), "4322".into()],
            timeout_seconds: 1,
            ..api::ExecStart::default()
        };
        let request = api::ExecRequest {
            event: Some(api::exec_request::Event::Start(start)),
        };
        let answers = node.client.runtime().exec(tokio_stream::once(request)).await;
        let message = tokio::time::timeout(PATIENCE, answers.unwrap().into_inner().message()).await;
        let refused = message.unwrap().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::DeadlineExceeded, "{refused:?}");
        // At once: whoever was told so may look.
        let left = "grep -qs [4]322 /proc/[0-9]*/cmdline && echo left || echo none";
        let (_input, answers) = exec(&node, left).await;
        assert_eq!(text(answers).await, ("none\n".to_owned(), 0));
    }
    node.finish().await;
}

#[tokio::test]
async fn the_runtime_tells_what_it_can_do() {
    let Some(node) = Node::new("the_runtime_tells_what_it_can_do").await else {
        return;
    };
    let told = node.client.runtime().get_runtime(api::GetRuntimeRequest {}).await;
    let told = told.unwrap().into_inner();
    assert_eq!(told.version, env!("CARGO_PKG_VERSION"));
    assert!(told.network_ready, "{told:?}");
    assert_eq!(told.handlers.len(), 1);
    assert!(told.handlers[0].name.is_empty() && told.handlers[0].recursive_read_only_mounts);
    for directory in [&told.image_directory, &told.container_directory] {
        assert!(std::path::Path::new(directory).is_dir(), "{directory}");
    }
    node.finish().await;
}
