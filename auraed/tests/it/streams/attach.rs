//! Clients of a container's own streams.

use super::{by_id, running};
use crate::machine::PATIENCE;
use crate::node::{Known, Node, pod, shell};
use api::attach_request::Event as Input;
use api::attach_response::Event as Output;
use auraed_api::runtime::v0 as api;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// A client that is attached.
struct Client {
    input: mpsc::Sender<api::AttachRequest>,
    answers: Streaming<api::AttachResponse>,
    tty: bool,
}

impl Client {
    async fn attach(node: &Node, container: api::ContainerReference, stdin: bool) -> Self {
        Self::try_attach(node, container, stdin).await.unwrap()
    }

    async fn try_attach(
        node: &Node,
        container: api::ContainerReference,
        stdin: bool,
    ) -> Result<Self, Status> {
        let (input, requests) = mpsc::channel(8);
        let start = Input::Start(api::AttachStart {
            container: Some(container),
            stdin,
            stdout: true,
            stderr: true,
            size: None,
        });
        input
            .send(api::AttachRequest { event: Some(start) })
            .await
            .unwrap();
        let answers = node
            .client
            .runtime()
            .attach(ReceiverStream::new(requests))
            .await?;
        let mut client = Self {
            input,
            answers: answers.into_inner(),
            tty: false,
        };
        match client.next().await? {
            Some(Output::Ready(ready)) => client.tty = ready.tty,
            other => panic!("{other:?} before it was ready"),
        }
        Ok(client)
    }

    async fn send(&self, event: Input) {
        self.input
            .send(api::AttachRequest { event: Some(event) })
            .await
            .unwrap();
    }

    async fn say(&self, text: &str) {
        self.send(Input::Stdin(text.into())).await;
    }

    async fn next(&mut self) -> Result<Option<Output>, Status> {
        let message = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        Ok(message.unwrap()?.map(|answer| answer.event.unwrap()))
    }

    /// Waits for a text in the output of either kind.
    async fn until(&mut self, wanted: &str) {
        let mut seen = String::new();
        while !seen.contains(wanted) {
            match self.next().await.unwrap() {
                Some(Output::Stdout(bytes) | Output::Stderr(bytes)) => {
                    seen.push_str(&String::from_utf8(bytes).unwrap());
                }
                other => panic!("{other:?} after {seen:?}"),
            }
        }
    }

    /// The rest of the output, and the exit code if it was told.
    async fn rest(mut self) -> (String, Option<i32>) {
        let mut text = Vec::new();
        while let Some(event) = self.next().await.unwrap() {
            match event {
                Output::Stdout(bytes) | Output::Stderr(bytes) => text.extend(bytes),
                Output::ExitCode(code) => return (String::from_utf8(text).unwrap(), Some(code)),
                Output::Ready(_) => panic!("ready twice"),
            }
        }
        (String::from_utf8(text).unwrap(), None)
    }
}

const ECHO: &str = "while read line; do [ $line = quit ] && exit 5; echo got $line; echo oh >&2; done";

#[tokio::test]
async fn many_clients_share_a_containers_streams() {
    let Some(node) = Node::new("many_clients_share_a_containers_streams").await else {
        return;
    };
    let mut container = shell("main", ECHO);
    container.stdin = true;
    node.run(pod("web", api::RestartPolicy::Never, vec![container]))
        .await;
    node.until_running("web").await;
    let mut first = Client::attach(&node, node.reference("web", ""), true).await;
    let mut second = Client::attach(&node, node.reference("web", "main"), true).await;
    let mut listener = Client::attach(&node, node.reference("web", ""), false).await;
    assert!(!first.tty);
    first.say("one\n").await;
    for client in [&mut first, &mut second, &mut listener] {
        client.until("got one").await;
    }
    // It has nothing more to say; the container goes on, and so do the others.
    first.send(Input::CloseStdin(api::CloseStdin {})).await;
    assert_eq!(first.rest().await.1, None);
    second.say("two\n").await;
    listener.until("got two").await;
    second.say("quit\n").await;
    assert_eq!(second.rest().await.1, Some(5));
    assert_eq!(listener.rest().await.1, Some(5));
    let status = node.until("web", |status| status.finished).await;
    assert_eq!(status.containers[0].terminated().exit_code, 5);
    let refused = Client::try_attach(&node, node.reference("web", ""), true).await;
    assert_eq!(refused.err().unwrap().code(), Code::FailedPrecondition);
    node.finish().await;
}

#[tokio::test]
async fn input_ends_with_its_first_client_where_that_is_wanted() {
    let Some(node) = Node::new("input_ends_with_its_first_client_where_that_is_wanted").await else {
        return;
    };
    running(&node, "once", "cat; echo end; exit 3", |spec| {
        (spec.stdin, spec.stdin_once) = (true, true);
    })
    .await;
    let listener = Client::attach(&node, by_id("once"), false).await;
    let first = Client::attach(&node, by_id("once"), true).await;
    first.say("hello\n").await;
    first.send(Input::CloseStdin(api::CloseStdin {})).await;
    assert_eq!(first.rest().await, ("hello\nend\n".to_owned(), Some(3)));
    assert_eq!(listener.rest().await, ("hello\nend\n".to_owned(), Some(3)));

    // One that goes away without a word is the same.
    running(&node, "gone", "cat; echo end; sleep 0.2", |spec| {
        (spec.stdin, spec.stdin_once) = (true, true);
    })
    .await;
    let mut listener = Client::attach(&node, by_id("gone"), false).await;
    let first = Client::attach(&node, by_id("gone"), true).await;
    first.say("bye\n").await;
    listener.until("bye").await;
    drop(first);
    let (text, code) = listener.rest().await;
    assert!(text.ends_with("end\n") && code == Some(0), "{text:?} {code:?}");
    node.finish().await;
}

#[tokio::test]
async fn a_containers_terminal_has_the_clients_size() {
    let Some(node) = Node::new("a_containers_terminal_has_the_clients_size").await else {
        return;
    };
    let script = "while read line; do [ $line = quit ] && exit; stty size; done";
    running(&node, "tty", script, |spec| (spec.stdin, spec.tty) = (true, true)).await;
    let mut client = Client::attach(&node, by_id("tty"), true).await;
    assert!(client.tty);
    let size = api::TerminalSize {
        width: 101,
        height: 33,
    };
    client.send(Input::Resize(size)).await;
    // Sizes and input go different ways; the first answer may be from before.
    loop {
        client.say("size\n").await;
        let mut seen = String::new();
        while !seen.contains(' ') || !seen.ends_with('\n') {
            match client.next().await.unwrap() {
                Some(Output::Stdout(bytes)) => seen.push_str(&String::from_utf8(bytes).unwrap()),
                other => panic!("{other:?}"),
            }
        }
        if seen.contains("33 101") {
            break;
        }
    }
    client.say("quit\n").await;
    assert_eq!(client.rest().await.1, Some(0));
    node.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_keep_up_is_told_so() {
    let Some(node) = Node::new("a_client_that_does_not_keep_up_is_told_so").await else {
        return;
    };
    let script = "read line; yes 0123456789 | head -c 8000000; touch /tmp/done; exec sleep 1000";
    running(&node, "loud", script, |spec| spec.stdin = true).await;
    let slow = Client::attach(&node, by_id("loud"), true).await;
    slow.say("go\n").await;
    // The container waits for nobody.
    let done = api::ExecStart {
        container: Some(by_id("loud")),
        command: vec![
            "sh".into(),
            "-c".into(),
            "until [ -e /tmp/done ]; do sleep 0.05; done".into(),
        ],
        ..api::ExecStart::default()
    };
    let request = api::ExecRequest {
        event: Some(api::exec_request::Event::Start(done)),
    };
    let waiting = node.client.runtime().exec(tokio_stream::iter([request])).await;
    let mut answers = waiting.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    let mut slow = slow;
    let error = loop {
        match slow.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended well"),
            Err(status) => break status,
        }
    };
    assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
    node.finish().await;
}

#[tokio::test]
async fn requests_that_mean_nothing_are_refused() {
    let Some(node) = Node::new("requests_that_mean_nothing_are_refused").await else {
        return;
    };
    running(&node, "quiet", "exec sleep 1000", |_| {}).await;
    let none = api::AttachStart {
        container: Some(by_id("quiet")),
        ..api::AttachStart::default()
    };
    for (event, code) in [
        (Input::CloseStdin(api::CloseStdin {}), Code::InvalidArgument),
        (Input::Start(none), Code::InvalidArgument),
        (
            Input::Start(api::AttachStart {
                container: Some(by_id("nonsense")),
                stdout: true,
                ..api::AttachStart::default()
            }),
            Code::NotFound,
        ),
        (
            Input::Start(api::AttachStart {
                stdout: true,
                ..api::AttachStart::default()
            }),
            Code::InvalidArgument,
        ),
    ] {
        let request = api::AttachRequest { event: Some(event) };
        let answer = node.client.runtime().attach(tokio_stream::iter([request])).await;
        assert_eq!(answer.unwrap_err().code(), code);
    }
    node.finish().await;
}
