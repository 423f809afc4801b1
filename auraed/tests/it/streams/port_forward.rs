//! Connections to ports inside of pods.

use super::running;
use crate::machine::PATIENCE;
use crate::node::{Node, pod, shell};
use crate::sandboxes::sandbox;
use api::port_forward_request::Event as Input;
use api::port_forward_response::Event as Output;
use auraed_api::runtime::v0 as api;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// A connection to a port.
struct Connection {
    input: mpsc::Sender<api::PortForwardRequest>,
    answers: Streaming<api::PortForwardResponse>,
}

impl Connection {
    async fn open(node: &Node, pod: &str, port: u32) -> Result<Self, Status> {
        let (input, requests) = mpsc::channel(8);
        let start = Input::Start(api::PortForwardStart {
            pod: pod.into(),
            port,
        });
        input
            .send(api::PortForwardRequest { event: Some(start) })
            .await
            .unwrap();
        let requests = ReceiverStream::new(requests);
        let answers = node.client.runtime().port_forward(requests).await?;
        let mut connection = Self {
            input,
            answers: answers.into_inner(),
        };
        assert_eq!(
            connection.next().await,
            Some(Output::Ready(api::PortForwardReady {}))
        );
        Ok(connection)
    }

    /// Waits until somebody listens.
    async fn until_open(node: &Node, pod: &str, port: u32) -> Self {
        loop {
            match Self::open(node, pod, port).await {
                Ok(connection) => return connection,
                Err(status) => assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn send(&self, event: Input) {
        self.input
            .send(api::PortForwardRequest { event: Some(event) })
            .await
            .unwrap();
    }

    async fn next(&mut self) -> Option<Output> {
        let message = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        message.unwrap().unwrap().map(|answer| answer.event.unwrap())
    }

    /// What comes until nothing more does.
    async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.next().await.unwrap() {
                Output::Data(bytes) => all.extend(bytes),
                Output::Close(_) => return all,
                Output::Ready(_) => panic!("ready twice"),
            }
        }
    }
}

fn close() -> Input {
    Input::Close(api::CloseWrite {})
}

#[tokio::test]
async fn each_direction_ends_on_its_own() {
    let Some(node) = Node::new("each_direction_ends_on_its_own").await else {
        return;
    };
    // One that answers at the end of what it is told, and one that listens to nothing.
    let script = "busybox nc -ll -p 7000 -e sh -c 'sort; echo end' &
        busybox nc -ll -p 7001 -e sh -c 'echo first' &
        wait";
    node.run(pod("web", api::RestartPolicy::Never, vec![shell("main", script)]))
        .await;
    node.until_running("web").await;
    let mut connection = Connection::until_open(&node, "web", 7000).await;
    connection.send(Input::Data("b\n".into())).await;
    connection.send(Input::Data("a\n".into())).await;
    connection.send(close()).await;
    assert_eq!(connection.rest().await, b"a\nb\nend\n");
    assert_eq!(connection.next().await, None);
    let mut connection = Connection::until_open(&node, "web", 7001).await;
    assert_eq!(connection.rest().await, b"first\n");
    // The call goes on until this side has said the same.
    connection.send(close()).await;
    assert_eq!(connection.next().await, None);
    node.finish().await;
}

#[tokio::test]
async fn much_goes_both_ways_at_once() {
    let Some(node) = Node::new("much_goes_both_ways_at_once").await else {
        return;
    };
    running(&node, "echo", "exec busybox nc -ll -p 7000 -e cat", |_| {}).await;
    let first = Connection::until_open(&node, "echo", 7000).await;
    drop(first);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..4_u8 {
        let mut connection = Connection::open(&node, "echo", 7000).await.unwrap();
        tasks.spawn(async move {
            let block = vec![number; 64 * 1024];
            let input = connection.input.clone();
            let sending = tokio::spawn(async move {
                for _ in 0..64 {
                    let event = Some(Input::Data(block.clone()));
                    input.send(api::PortForwardRequest { event }).await.unwrap();
                }
                let event = Some(close());
                input.send(api::PortForwardRequest { event }).await.unwrap();
            });
            let echoed = connection.rest().await;
            sending.await.unwrap();
            assert_eq!(echoed.len(), 64 * 64 * 1024);
            assert!(echoed.iter().all(|byte| *byte == number));
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    node.finish().await;
}

#[tokio::test]
async fn a_sandbox_of_the_nodes_network_has_the_nodes_ports() {
    let Some(node) = Node::new("a_sandbox_of_the_nodes_network_has_the_nodes_ports").await else {
        return;
    };
    let mut spec = sandbox("host");
    spec.network = api::NamespaceMode::Node.into();
    node.make(spec).await.unwrap();
    let mut server = node.machine.inside("busybox");
    let mut server = server
        .args(["nc", "-ll", "-p", "7002", "-e", "cat"])
        .spawn()
        .unwrap();
    let mut connection = Connection::until_open(&node, "host", 7002).await;
    connection.send(Input::Data("hello".into())).await;
    connection.send(close()).await;
    assert_eq!(connection.rest().await, b"hello");
    server.kill().unwrap();
    server.wait().unwrap();
    node.finish().await;
}

#[tokio::test]
async fn where_there_is_nobody_that_is_told() {
    let Some(node) = Node::new("where_there_is_nobody_that_is_told").await else {
        return;
    };
    running(&node, "quiet", "exec sleep 1000", |_| {}).await;
    for (pod, port, code, text) in [
        (
            "quiet",
            81,
            Code::FailedPrecondition,
            "127.0.0.1: Connection refused",
        ),
        ("quiet", 0, Code::InvalidArgument, "start.port"),
        ("quiet", 65_536, Code::InvalidArgument, "start.port"),
        ("nobody", 80, Code::NotFound, "nobody"),
        ("", 80, Code::InvalidArgument, "start.pod"),
    ] {
        let status = Connection::open(&node, pod, port).await.err().unwrap();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(text), "{status:?}");
    }
    // What is reachable from the node's own network is not from the pod's.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let status = Connection::open(&node, "quiet", port.into()).await.err().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    node.finish().await;
}
