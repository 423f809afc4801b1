//! The URLs of Exec, Attach and PortForward, opened over WebSocket in every version by a client of this test's own. critest
//! and kubectl open them with the clients of Kubernetes.

use std::time::Duration;

use cri_api::v1 as cri;
use e2e::suite;
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::node::{Cri, FOREVER, PATIENCE, PATIENT, container_config, on_node, on_own_node, sandbox_config};

/// A client of a URL, over one of the subprotocols.
struct Client {
    socket: WebSocketStream<TcpStream>,
    is_base64: bool,
}

impl Client {
    async fn open(url: &str, protocol: &str) -> Result<Self, Error> {
        let address = url.strip_prefix("http://").unwrap();
        let host = address.split('/').next().unwrap();
        let mut request = format!("ws://{address}").into_client_request().unwrap();
        if !protocol.is_empty() {
            let name = "sec-websocket-protocol";
            request.headers_mut().insert(name, protocol.parse().unwrap());
        }
        let stream = TcpStream::connect(host).await.unwrap();
        let (socket, _) = client_async(request, stream).await?;
        Ok(Self {
            socket,
            is_base64: protocol.contains("base64"),
        })
    }

    async fn send(&mut self, channel: u8, data: &[u8]) {
        let message = if self.is_base64 {
            let channel = char::from(b'0' + channel);
            Message::text(format!("{channel}{}", base64(data)))
        } else {
            Message::binary([&[channel], data].concat())
        };
        self.socket.send(message).await.unwrap();
    }

    /// The next message: its channel and its data. None at the end.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next())
                .await
                .unwrap()?;
            let data = match message.ok()? {
                Message::Binary(data) => data,
                Message::Text(text) => text.into(),
                Message::Close(_) => return None,
                _ => continue,
            };
            let (channel, data) = data.split_first().unwrap();
            return Some(if self.is_base64 {
                (channel - b'0', unbase64(data))
            } else {
                (*channel, data.to_vec())
            });
        }
    }

    /// Reads up to this text on standard output.
    async fn until(&mut self, wanted: &str) {
        let mut all = String::new();
        while !all.contains(wanted) {
            let (channel, data) = self
                .next()
                .await
                .unwrap_or_else(|| panic!("the end after {all:?}"));
            assert_eq!(channel, 1, "{:?}", String::from_utf8_lossy(&data));
            all.push_str(&String::from_utf8_lossy(&data));
        }
    }

    /// Everything of each channel up to the end.
    async fn rest(&mut self) -> [Vec<u8>; 4] {
        let mut all: [Vec<u8>; 4] = Default::default();
        while let Some((channel, data)) = self.next().await {
            all[usize::from(channel)].extend(data);
        }
        all
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(data: &[u8]) -> String {
    let mut text = String::new();
    for chunk in data.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let six = (bits >> (18 - 6 * index) & 63) as usize;
            text.push(if index > chunk.len() {
                '='
            } else {
                char::from(ALPHABET[six])
            });
        }
    }
    text
}

fn unbase64(text: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for chunk in text.chunks(4) {
        let value = |byte: &u8| ALPHABET.iter().position(|one| one == byte).unwrap_or(0);
        let bits = chunk.iter().fold(0, |bits, byte| bits << 6 | value(byte));
        let count = 3 - chunk.iter().filter(|byte| **byte == b'=').count();
        data.extend(
            [bits >> 16, bits >> 8, bits]
                .iter()
                .take(count)
                .map(|byte| *byte as u8),
        );
    }
    data
}

/// A URL for a program in a container.
async fn exec(cri: &mut Cri, container: &str, script: &str, stdin: bool) -> String {
    let request = cri::ExecRequest {
        container_id: container.to_owned(),
        cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
        stdin,
        stdout: true,
        stderr: true,
        ..Default::default()
    };
    cri.runtime.exec(request).await.unwrap().into_inner().url
}

async fn start(cri: &mut Cri, name: &str, script: &str) -> (String, String) {
    let sandbox_config = sandbox_config(name);
    let sandbox = cri.run_sandbox(&sandbox_config).await;
    let config = container_config("main", script);
    let container = cri.run_container(&sandbox, &config, &sandbox_config).await;
    (sandbox, container)
}

#[test]
fn programs_are_run_in_every_version_of_the_protocol() {
    on_node(
        "programs_are_run_in_every_version_of_the_protocol",
        async |mut cri| {
            suite::ground().network.enter().unwrap();
            let (_, container) = start(&mut cri, "versions", FOREVER).await;
            for (protocol, has_status) in [
                ("v5.channel.k8s.io", true),
                ("v4.channel.k8s.io", true),
                ("v4.base64.channel.k8s.io", true),
                ("channel.k8s.io", false),
                ("base64.channel.k8s.io", false),
                ("", false),
            ] {
                let script = "read line; echo got $line; echo oh >&2; exit 3";
                let url = exec(&mut cri, &container, script, true).await;
                let mut client = Client::open(&url, protocol).await.unwrap();
                client.send(0, b"hello\n").await;
                let [stdin, stdout, stderr, end] = client.rest().await;
                assert_eq!(
                    (stdin.as_slice(), stdout.as_slice(), stderr.as_slice()),
                    (&b""[..], &b"got hello\n"[..], &b"oh\n"[..]),
                    "{protocol}"
                );
                let end = String::from_utf8(end).unwrap();
                if has_status {
                    let expected = ["\"reason\":\"NonZeroExitCode\"", "\"message\":\"3\""];
                    assert!(
                        expected.iter().all(|part| end.contains(part)),
                        "{protocol}: {end}"
                    );
                } else {
                    assert_eq!(end, "command terminated with non-zero exit code: exit code 3");
                }
                // It was good once.
                assert!(matches!(
                    Client::open(&url, protocol).await,
                    Err(Error::Http(response)) if response.status() == 404
                ));
            }
            // The client's end of its input, which the newest version alone can say.
            let url = exec(&mut cri, &container, "cat; echo end", true).await;
            let mut client = Client::open(&url, "v5.channel.k8s.io").await.unwrap();
            client.send(0, b"hello\n").await;
            client.send(255, &[0]).await;
            assert_eq!(client.rest().await[1], b"hello\nend\n");
        },
    );
}

#[test]
fn what_cannot_be_run_is_told() {
    on_node("what_cannot_be_run_is_told", async |mut cri| {
        suite::ground().network.enter().unwrap();
        let (_, container) = start(&mut cri, "missing", FOREVER).await;
        let request = cri::ExecRequest {
            container_id: container,
            cmd: vec!["/no/such/program".into()],
            stdout: true,
            ..Default::default()
        };
        let url = cri.runtime.exec(request).await.unwrap().into_inner().url;
        let Err(Error::Http(response)) = Client::open(&url, "v5.channel.k8s.io").await else {
            panic!("it was upgraded");
        };
        assert_eq!(response.status(), 500);
        let text = String::from_utf8(response.body().clone().unwrap()).unwrap();
        assert!(text.contains("/no/such/program"), "{text}");
    });
}

#[test]
fn a_client_that_goes_away_takes_its_program_along() {
    on_node(
        "a_client_that_goes_away_takes_its_program_along",
        async |mut cri| {
            suite::ground().network.enter().unwrap();
            let (_, container) = start(&mut cri, "gone", FOREVER).await;
            let script = "sleep 54321 & echo begun; sleep 54321";
            let url = exec(&mut cri, &container, script, false).await;
            let mut client = Client::open(&url, "v5.channel.k8s.io").await.unwrap();
            while client.next().await != Some((1, b"begun\n".to_vec())) {}
            drop(client);
            let left = "until ! ps -o args | grep '[s]leep 54321'; do sleep 0.05; done; echo none";
            let done = cri.exec(&container, &["sh", "-c", left], 30).await.unwrap();
            assert!(done.stdout.ends_with(b"none\n"), "{done:?}");
        },
    );
}

#[test]
fn a_terminal_takes_its_clients_size() {
    on_node("a_terminal_takes_its_clients_size", async |mut cri| {
        suite::ground().network.enter().unwrap();
        let (_, container) = start(&mut cri, "size", FOREVER).await;
        let script = "echo begun; while read line; do echo $line $(stty size); done";
        let request = cri::ExecRequest {
            container_id: container,
            cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
            stdin: true,
            stdout: true,
            tty: true,
            ..Default::default()
        };
        let url = cri.runtime.exec(request).await.unwrap().into_inner().url;
        let mut client = Client::open(&url, "v5.channel.k8s.io").await.unwrap();
        client.until("begun").await;
        for (size, shown) in [
            (r#"{"Width":132,"Height":43}"#, "43 132"),
            (r#"{"Width":90,"Height":30}"#, "30 90"),
        ] {
            client.send(4, size.as_bytes()).await;
            // Sizes and input go different ways: asked until it is the new one.
            let asked = async {
                loop {
                    client.send(0, b"is\n").await;
                    let (_, data) = client.next().await.unwrap();
                    if String::from_utf8_lossy(&data).contains(shown) {
                        return;
                    }
                }
            };
            tokio::time::timeout(PATIENCE, asked).await.unwrap();
        }
    });
}

#[test]
fn a_containers_input_ends_with_its_client_only_where_it_is_for_one() {
    on_node(
        "a_containers_input_ends_with_its_client_only_where_it_is_for_one",
        async |mut cri| {
            suite::ground().network.enter().unwrap();
            let sandbox_config = sandbox_config("input");
            let sandbox = cri.run_sandbox(&sandbox_config).await;
            let script = "while read line; do echo got $line; done; echo ended; sleep 100000";
            for (name, once) in [("once", true), ("always", false)] {
                let config = cri::ContainerConfig {
                    stdin: true,
                    stdin_once: once,
                    ..container_config(name, script)
                };
                let container = cri.run_container(&sandbox, &config, &sandbox_config).await;
                let request = cri::AttachRequest {
                    container_id: container,
                    stdin: true,
                    stdout: true,
                    stderr: true,
                    ..Default::default()
                };
                let url = cri
                    .runtime
                    .attach(request.clone())
                    .await
                    .unwrap()
                    .into_inner()
                    .url;
                let mut client = Client::open(&url, "v5.channel.k8s.io").await.unwrap();
                client.send(0, b"first\n").await;
                client.until("got first\n").await;
                client.send(255, &[0]).await;
                if once {
                    client.until("ended\n").await;
                    continue;
                }
                // The client has said everything, and is let go; the container waits for the next one.
                let [_, _, _, end] = client.rest().await;
                assert!(String::from_utf8(end).unwrap().contains("Success"));
                let url = cri
                    .runtime
                    .attach(request.clone())
                    .await
                    .unwrap()
                    .into_inner()
                    .url;
                let mut next = Client::open(&url, "v5.channel.k8s.io").await.unwrap();
                next.send(0, b"second\n").await;
                next.until("got second\n").await;
                drop(next);
                let url = cri.runtime.attach(request).await.unwrap().into_inner().url;
                let mut last = Client::open(&url, "v4.channel.k8s.io").await.unwrap();
                last.send(0, b"third\n").await;
                last.until("got third\n").await;
            }
            cri.remove_sandbox(&sandbox).await;
        },
    );
}

#[test]
fn ports_of_the_nodes_own_network_are_forwarded() {
    on_node("ports_of_the_nodes_own_network_are_forwarded", async |mut cri| {
        suite::ground().network.enter().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut config = sandbox_config("host-ports");
        config.hostname = String::new();
        config.linux = Some(cri::LinuxPodSandboxConfig {
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(cri::NamespaceOption {
                    network: cri::NamespaceMode::Node as i32,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        });
        let sandbox = cri.run_sandbox(&config).await;
        let request = cri::PortForwardRequest {
            pod_sandbox_id: sandbox.clone(),
            port: vec![port.into()],
        };
        let url = cri.runtime.port_forward(request).await.unwrap().into_inner().url;
        let mut client = Client::open(&url, "v4.channel.k8s.io").await.unwrap();
        for channel in [0, 1] {
            assert_eq!(client.next().await, Some((channel, port.to_le_bytes().to_vec())));
        }
        client.send(0, b"hello").await;
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        stream.write_all(b"there").await.unwrap();
        assert_eq!(client.next().await, Some((0, b"there".to_vec())));
        cri.remove_sandbox(&sandbox).await;
    });
}

#[test]
fn a_session_that_does_not_end_does_not_keep_the_shim() {
    on_own_node(
        "a_session_that_does_not_end_does_not_keep_the_shim",
        "end-session",
        async |node, mut cri| {
            suite::ground().network.enter().unwrap();
            let (_, container) = start(&mut cri, "endless", FOREVER).await;
            let url = exec(&mut cri, &container, "echo begun; sleep 54321", true).await;
            let mut client = Client::open(&url, "v5.channel.k8s.io").await.unwrap();
            client.until("begun").await;
            let programs = node.programs();
            let (_, pid) = programs.iter().find(|(name, _)| *name == "cri-shim").unwrap();
            let shim = Pid::from_raw(pid.cast_signed()).unwrap();
            kill_process(shim, Signal::TERM).unwrap();
            assert_eq!(client.next().await, None);
            node.kill_shim();
            node.start_shim().unwrap();
            // The program went with its client.
            let left = "while ps -o args | grep '[s]leep 54321'; do sleep 0.05; done; echo none";
            let done = cri.exec(&container, &["sh", "-c", left], 60).await.unwrap();
            assert!(done.stdout.ends_with(b"none\n"), "{done:?}");
        },
    );
}

#[test]
fn ports_are_forwarded_in_the_old_form() {
    on_node("ports_are_forwarded_in_the_old_form", async |mut cri| {
        suite::ground().network.enter().unwrap();
        let (sandbox, container) = start(&mut cri, "ports", "nc -ll -p 7000 -e cat").await;
        let listening = "until nc -w 1 127.0.0.1 7000 </dev/null; do sleep 0.05; done";
        cri.exec(&container, &["sh", "-c", listening], 30).await.unwrap();
        for protocol in ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
            let request = cri::PortForwardRequest {
                pod_sandbox_id: sandbox.clone(),
                port: vec![7000, 81],
            };
            let url = cri.runtime.port_forward(request).await.unwrap().into_inner().url;
            let mut client = Client::open(&url, protocol).await.unwrap();
            for (channel, port) in [(0, 7000_u16), (1, 7000), (2, 81), (3, 81)] {
                assert_eq!(client.next().await, Some((channel, port.to_le_bytes().to_vec())));
            }
            let (channel, text) = client.next().await.unwrap();
            let text = String::from_utf8(text).unwrap();
            let expected = format!("error forwarding port 81 to pod {sandbox}, uid : ");
            assert!(
                channel == 3 && text.starts_with(&expected) && text.contains("Connection refused"),
                "{protocol}: {text}"
            );
            client.send(0, b"hello").await;
            assert_eq!(client.next().await, Some((0, b"hello".to_vec())));
        }
    });
}

#[test]
fn a_session_goes_on_while_the_shim_ends() {
    on_own_node(
        "a_session_goes_on_while_the_shim_ends",
        "drain-session",
        async |node, mut cri| {
            suite::ground().network.enter().unwrap();
            node.kill_shim();
            node.start_shim_with(&PATIENT).unwrap();
            let (_, container) = start(&mut cri, "drain", FOREVER).await;
            let url = exec(&mut cri, &container, "cat", true).await;
            let unused = exec(&mut cri, &container, "true", false).await;
            let mut client = Client::open(&url, "v5.channel.k8s.io").await.unwrap();
            client.send(0, b"before").await;
            while client.next().await != Some((1, b"before".to_vec())) {}
            let (_, pid) = node
                .programs()
                .into_iter()
                .find(|(name, _)| *name == "cri-shim")
                .unwrap();
            let shim = Pid::from_raw(pid.cast_signed()).unwrap();
            kill_process(shim, Signal::TERM).unwrap();
            let host = unused.split('/').nth(2).unwrap();
            while TcpStream::connect(host).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            client.send(0, b"after").await;
            assert_eq!(client.next().await, Some((1, b"after".to_vec())));
            client.send(255, &[0]).await;
            let [_, _, _, end] = client.rest().await;
            assert!(String::from_utf8(end).unwrap().contains("Success"));
            node.kill_shim();
            node.start_shim().unwrap();
        },
    );
}
