//! Clients of each protocol against a server that echoes.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::spdy::client::{Client, Frame, data, reset};

/// Serves one client: port 7 echoes, nobody listens at any other.
async fn serve(connection: DuplexStream, protocol: Protocol, ports: &[u16]) {
    let mut forwards = open(connection, protocol, ports).await;
    let mut tasks = tokio::task::JoinSet::new();
    while let Some(mut forward) = forwards.next().await {
        tasks.spawn(async move {
            if forward.port != 7 {
                forward.writer.end(Some("nobody listens")).await;
                return;
            }
            while let Ok(Some(data)) = forward.reader.read().await {
                let closes = data == "close";
                if forward.writer.write(data).await.is_err() || closes {
                    break;
                }
            }
            forward.writer.end(None).await;
        });
    }
    tasks.join_all().await;
    forwards.close().await;
}

fn start(protocol: Protocol, ports: &'static [u16]) -> DuplexStream {
    let (client, server) = tokio::io::duplex(64 * 1024);
    tokio::spawn(serve(server, protocol, ports));
    client
}

fn headers<'a>(kind: &'a str, port: &'a str, request: &'a str) -> [(&'a str, &'a str); 3] {
    [("streamType", kind), ("port", port), ("requestID", request)]
}

#[tokio::test]
async fn many_connections_share_one() {
    let mut client = Client::new(start(Protocol::Spdy, &[]));
    let mut streams = Vec::new();
    for number in 0..20 {
        let request = number.to_string();
        let error = client.open(&headers("error", "7", &request)).await;
        client.send(error, b"", true).await;
        streams.push((error, client.open(&headers("data", "7", &request)).await));
    }
    for (_, stream) in &streams {
        client.send(*stream, b"hello", true).await;
    }
    let (mut echoed, mut ended) = (0, 0);
    while ended < 2 * streams.len() {
        match client.receive().await.unwrap() {
            Frame::Data {
                data, ends: false, ..
            } => {
                assert_eq!(data, "hello");
                echoed += 1;
            }
            Frame::Data { ends: true, .. } => ended += 1,
            _ => {}
        }
    }
    assert_eq!(echoed, streams.len());
}

#[tokio::test]
async fn an_error_is_told_and_the_data_reset() {
    let mut client = Client::new(start(Protocol::Spdy, &[]));
    // In whichever order.
    let stream = client.open(&headers("data", "8", "x")).await;
    let error = client.open(&headers("error", "8", "x")).await;
    assert_eq!(
        client.receive_of(error).await,
        data(error, b"nobody listens", false)
    );
    assert_eq!(client.receive_of(error).await, data(error, b"", true));
    assert_eq!(client.receive_of(stream).await, Some(reset(stream)));
}

#[tokio::test]
async fn clients_without_names_are_paired_by_number() {
    let mut client = Client::new(start(Protocol::Spdy, &[]));
    for _ in 0..2 {
        let error = client.open(&[("streamtype", "error"), ("port", "7")]).await;
        let stream = client.open(&[("streamtype", "data"), ("port", "7")]).await;
        client.send(stream, b"close", false).await;
        assert_eq!(client.read_to_end(stream).await, b"close");
        assert_eq!(client.read_to_end(error).await, b"");
    }
}

#[tokio::test]
async fn a_connection_that_is_given_up_is_over() {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let mut client = Client::new(client);
    let mut forwards = open(server, Protocol::Spdy, &[]).await;
    client.open(&headers("error", "7", "x")).await;
    let stream = client.open(&headers("data", "7", "x")).await;
    let mut forward = forwards.next().await.unwrap();
    // Its own end is not the whole connection's.
    client.send(stream, b"", true).await;
    assert_eq!(forward.reader.read().await, Ok(None));
    tokio::select! {
        biased;
        () = forward.presence.over() => panic!("it goes on"),
        () = tokio::task::yield_now() => {}
    }
    client.reset(stream).await;
    forward.presence.over().await;
}

#[tokio::test]
async fn what_is_no_connection_is_refused() {
    let mut client = Client::new(start(Protocol::Spdy, &[]));
    let long = "x".repeat(200);
    for headers in [
        headers("data", "0", "1"),
        headers("data", "65536", "1"),
        headers("data", "http", "1"),
        headers("stdin", "7", "1"),
        headers("data", "7", &long),
    ] {
        let stream = client.open(&headers).await;
        assert_eq!(client.receive().await, Some(reset(stream)), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_pair_is_given_up_and_told() {
    let begin = Instant::now();
    let mut client = Client::new(start(Protocol::Spdy, &[]));
    let error = client.open(&headers("error", "7", "a")).await;
    assert_eq!(
        client.read_to_end(error).await,
        b"(request=a) timed out waiting for streams"
    );
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
    let stream = client.open(&headers("data", "7", "b")).await;
    assert_eq!(client.receive_of(stream).await, Some(reset(stream)));
}

#[tokio::test]
async fn halves_without_number_do_not_fill_the_memory() {
    let mut client = Client::new(start(Protocol::Spdy, &[]));
    let first = client.open(&headers("data", "7", "first")).await;
    for number in 0..256 {
        client.open(&headers("data", "7", &number.to_string())).await;
    }
    assert_eq!(client.receive_of(first).await, Some(reset(first)));
}

#[tokio::test]
async fn the_same_goes_through_a_tunnel() {
    let socket = WebSocketStream::from_raw_socket(start(Protocol::Tunnel, &[]), Role::Client, None).await;
    let mut client = Client::new(Tunnel::of(socket));
    let error = client.open(&headers("error", "7", "1")).await;
    let stream = client.open(&headers("data", "7", "1")).await;
    let long = vec![b'x'; 300_000];
    client.send(stream, &long[..100_000], false).await;
    let mut echoed = 0;
    while echoed < 100_000 {
        if let Some(Frame::Data { data, .. }) = client.receive_of(stream).await {
            echoed += data.len();
        }
    }
    client.send(stream, b"close", false).await;
    assert_eq!(client.read_to_end(stream).await, b"close");
    assert_eq!(client.read_to_end(error).await, b"");
}

#[tokio::test]
async fn channels_begin_with_their_ports_and_end_with_the_last() {
    for (protocol, is_base64) in [(Protocol::Channels, false), (Protocol::ChannelsBase64, true)] {
        let socket = start(protocol, &[7, 8]);
        let mut client = WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
        let message = |channel, data: &[u8]| crate::frame::encode(is_base64, channel, data);
        let mut first = Vec::new();
        for _ in 0..5 {
            first.push(client.next().await.unwrap().unwrap());
        }
        for (channel, port) in [(0, 7_u16), (1, 7), (2, 8), (3, 8)] {
            assert_eq!(first[usize::from(channel)], message(channel, &port.to_le_bytes()));
        }
        assert_eq!(first[4], message(3, b"nobody listens"));
        // Not the client's channel, not a channel at all.
        client.send(message(1, b"x")).await.unwrap();
        client.send(message(60, b"x")).await.unwrap();
        client.send(Message::binary("")).await.unwrap();
        client.send(message(0, b"close")).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), message(0, b"close"));
        assert!(client.next().await.unwrap().unwrap().is_close());
    }
}

#[test]
fn protocols_are_agreed_on() {
    let request = |upgrade: &str, header: &str, offers: &str| {
        let builder = http::Request::get("/portForward/default/web").header("Connection", "Upgrade");
        let builder = builder
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "x");
        let builder = builder.header("Upgrade", upgrade);
        let builder = if offers.is_empty() {
            builder
        } else {
            builder.header(header, offers)
        };
        negotiate(&builder.body(()).unwrap().into_parts().0)
    };
    let websocket =
        |offers| request("websocket", "Sec-WebSocket-Protocol", offers).map(|accepted| accepted.protocol);
    assert_eq!(websocket("SPDY/3.1+portforward.k8s.io"), Ok(Protocol::Tunnel));
    assert_eq!(websocket("v4.channel.k8s.io"), Ok(Protocol::Channels));
    assert_eq!(
        websocket("v4.base64.channel.k8s.io"),
        Ok(Protocol::ChannelsBase64)
    );
    assert_eq!(websocket(""), Ok(Protocol::Channels));
    assert!(websocket("v5.channel.k8s.io").is_err());
    let accepted = request("SPDY/3.1", "X-Stream-Protocol-Version", "portforward.k8s.io").unwrap();
    assert_eq!(
        accepted.response::<()>().headers()["x-stream-protocol-version"],
        "portforward.k8s.io"
    );
}
