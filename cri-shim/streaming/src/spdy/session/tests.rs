//! A client of SPDY/3.1 against the session.

use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::outcome::Outcome;
use crate::session::{Disconnected, Input, Output, open};
use crate::spdy::client::{Client, data};
use crate::spdy::frame::{Encoder, Frame};

fn options(tty: bool) -> Options {
    Options {
        command: Vec::new(),
        stdin: true,
        stdout: true,
        stderr: !tty,
        tty,
    }
}

/// A session whose client has opened these streams, which are numbered 1, 3 and so on.
async fn session(
    protocol: Protocol,
    options: Options,
    kinds: &[&str],
) -> (Client<DuplexStream>, Input, Output) {
    let (connection, server) = tokio::io::duplex(64 * 1024);
    let session = tokio::spawn(async move { open(server, protocol, &options).await });
    let mut client = Client::new(connection);
    for kind in kinds {
        client.open(&[("streamType", kind)]).await;
        assert_eq!(
            client.receive().await,
            Some(Frame::Other),
            "a reply, as client-go waits for one"
        );
    }
    let (input, output) = session.await.unwrap();
    (client, input, output)
}

const ALL: [&str; 4] = ["error", "stdin", "stdout", "stderr"];

#[tokio::test]
async fn streams_carry_both_ways_and_the_end_comes_last() {
    let (mut client, mut input, output) = session(Protocol::SpdyV4, options(false), &ALL).await;
    client.send(3, b"hello", false).await;
    client.send(3, b"", true).await;
    assert_eq!(input.stdin.recv().await.unwrap(), "hello");
    assert_eq!(input.stdin.recv().await, None);
    assert_eq!(client.receive().await, data(3, b"", true));
    output.stdout("out").await.unwrap();
    output.stderr("err").await.unwrap();
    let finishing = tokio::spawn(async move { output.finish(&Outcome::Exited(3)).await });
    assert_eq!(client.receive().await, data(5, b"out", false));
    assert_eq!(client.receive().await, data(7, b"err", false));
    let Some(Frame::Data {
        stream: 1,
        data: status,
        ends: false,
    }) = client.receive().await
    else {
        panic!("no status");
    };
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "3");
    for stream in [5, 7, 1] {
        assert_eq!(client.receive().await, data(stream, b"", true));
    }
    assert_eq!(client.receive().await, Some(Frame::GoAway));
    assert_eq!(client.receive().await, None);
    // Whoever ends with the last session waits until the client has everything.
    assert!(!finishing.is_finished());
    drop(client);
    finishing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_terminal_has_sizes_in_whatever_pieces() {
    let kinds = ["error", "stdin", "stdout", "resize"];
    let (mut client, mut input, _output) = session(Protocol::SpdyV3, options(true), &kinds).await;
    client.send(7, b"{\"Width\":80,\"Heig", false).await;
    client
        .send(7, b"ht\":24}\n{\"Width\":132,\"Height\":43}\n", false)
        .await;
    let size = input
        .sizes
        .wait_for(|size| size.is_some_and(|size| size.width == 132))
        .await
        .unwrap();
    assert_eq!(
        *size,
        Some(Size {
            width: 132,
            height: 43
        })
    );
}

#[tokio::test]
async fn old_versions_say_nothing_of_success() {
    for protocol in [Protocol::SpdyV1, Protocol::SpdyV2, Protocol::SpdyV3] {
        let (mut client, _input, output) = session(protocol, options(false), &ALL).await;
        let finishing = tokio::spawn(async move { output.finish(&Outcome::Exited(0)).await });
        assert_eq!(client.receive().await, data(5, b"", true));
        drop(client);
        finishing.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn pings_are_sent_back_and_what_is_not_wanted_is_refused() {
    let (mut client, _input, _output) = session(Protocol::SpdyV4, options(false), &ALL).await;
    client.connection.write_all(&Encoder::ping(9)).await.unwrap();
    assert_eq!(client.receive().await, Some(Frame::Ping { id: 9 }));
    for kind in ["stdin", "resize", "nonsense"] {
        let stream = client.open(&[("streamtype", kind)]).await;
        assert_eq!(client.receive().await, Some(Frame::Reset { stream }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_opens_too_little_is_given_up() {
    let (connection, server) = tokio::io::duplex(1024);
    let (mut input, output) = open(server, Protocol::SpdyV4, &options(false)).await;
    output.closed().await;
    assert_eq!(output.stdout("x").await, Err(Disconnected));
    assert_eq!(input.stdin.recv().await, None);
    drop(connection);
}

#[tokio::test]
async fn a_client_that_goes_away_or_talks_nonsense_is_noticed() {
    for nonsense in [false, true] {
        let (mut client, mut input, output) = session(Protocol::SpdyV4, options(false), &ALL).await;
        if nonsense {
            client.connection.write_all(b"\x80\x07nonsense").await.unwrap();
        } else {
            drop(client.connection);
        }
        output.closed().await;
        assert_eq!(input.stdin.recv().await, None);
    }
}

#[tokio::test]
async fn a_program_that_does_not_read_holds_its_client_back() {
    let (client, mut input, _output) = session(Protocol::SpdyV4, options(false), &ALL).await;
    let (mut reading, mut connection) = tokio::io::split(client.connection);
    // It reads the windows, and looks at none.
    tokio::spawn(async move { tokio::io::copy(&mut reading, &mut tokio::io::sink()).await });
    let block = vec![b'x'; 32 * 1024];
    let frame = [Encoder::data_head(3, block.len(), false).as_slice(), &block].concat();
    let (count, sent) = watch::channel(0_usize);
    let sender = tokio::spawn(async move {
        for number in 1..=200 {
            connection.write_all(&frame).await.unwrap();
            count.send_replace(number);
        }
        connection
    });
    let mut received = 0;
    while received < 200 * block.len() {
        // Everything that can go on without the program has.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let waiting = *sent.borrow() * block.len() - received.min(*sent.borrow() * block.len());
        assert!(waiting <= 2 * 1024 * 1024, "{waiting} bytes wait");
        received += input.stdin.recv().await.unwrap().len();
    }
    sender.await.unwrap();
}
