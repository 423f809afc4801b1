//! Requests of clients, as far as they come without auraed.

use std::path::PathBuf;

use auraed_client::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

async fn start() -> Streams {
    let nowhere = PathBuf::from("/nonexistent");
    let client = Client::connect_lazy(ClientConfig {
        socket: nowhere.join("aurae.sock"),
        identity: nowhere,
    });
    let address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    Streams::start(address, client).await.unwrap()
}

fn options() -> Options {
    Options {
        command: vec!["true".to_owned()],
        stdout: true,
        ..Options::default()
    }
}

/// The status line and the text of an answer.
async fn ask(streams: &Streams, method: &str, url: &str, upgrade: &str) -> (String, String) {
    let path = url
        .strip_prefix(&format!("http://{}", streams.address()))
        .unwrap();
    let mut stream = TcpStream::connect(streams.address()).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: {upgrade}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), text.to_owned())
}

#[tokio::test]
async fn a_token_is_for_one_request_of_its_verb() {
    let streams = start().await;
    let url = streams.exec("c", options()).unwrap();
    let (status, text) = ask(&streams, "GET", &url, "websocket").await;
    // It got as far as auraed, which is not there.
    assert!(status.contains("500") && text.contains("/nonexistent"), "{text}");
    assert!(ask(&streams, "GET", &url, "websocket").await.0.contains("404"));
    let url = streams.attach("c", options()).unwrap();
    let other = url.replace("/attach/", "/exec/");
    assert!(ask(&streams, "POST", &other, "SPDY/3.1").await.0.contains("404"));
    assert!(ask(&streams, "POST", &url, "SPDY/3.1").await.0.contains("404"));
    for path in ["/", "/exec", "/exec/", "/exec/nonsense", "/nonsense"] {
        let url = format!("http://{}{path}", streams.address());
        assert!(
            ask(&streams, "GET", &url, "websocket").await.0.contains("404"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_is_no_upgrade_is_refused() {
    let streams = start().await;
    for (method, upgrade, expected) in [
        ("GET", "h2c", "400"),
        ("POST", "websocket", "405"),
        ("PUT", "SPDY/3.1", "405"),
    ] {
        let url = streams.port_forward("s", &[80]).unwrap();
        let (status, _) = ask(&streams, method, &url, upgrade).await;
        assert!(status.contains(expected), "{method} {upgrade}: {status}");
    }
}

#[tokio::test]
async fn it_ends_when_it_is_stopped_and_when_it_is_dropped() {
    let streams = start().await;
    let address = streams.address();
    let idle = TcpStream::connect(address).await.unwrap();
    streams.stop().await;
    let mut idle = idle;
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
    let other = start().await;
    let address = other.address();
    drop(other);
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
