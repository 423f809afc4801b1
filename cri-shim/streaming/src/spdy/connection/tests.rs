//! A client of SPDY/3.1 against a connection.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, DuplexStream};

use super::*;
use crate::activity::IDLE_TIME;
use crate::spdy::client::{Client, data};
use crate::spdy::frame::Frame;
use crate::spdy::table::Gone;

fn connect() -> (Client<DuplexStream>, Connection) {
    let (connection, server) = tokio::io::duplex(64 * 1024);
    (
        Client::new(connection),
        Connection::start(server, Box::new(|_| true)),
    )
}

#[tokio::test]
async fn each_direction_ends_on_its_own() {
    let (mut client, mut connection) = connect();
    let id = client.open(&[("a", "b")]).await;
    let Stream {
        headers,
        mut reader,
        mut writer,
        ..
    } = connection.accept().await.unwrap();
    assert_eq!(headers, [("a".to_owned(), "b".to_owned())]);
    client.send(id, b"question", true).await;
    assert_eq!(reader.read().await.unwrap().unwrap(), "question");
    assert_eq!(reader.read().await, Ok(None));
    assert_eq!(reader.read().await, Ok(None));
    writer.write(Bytes::from_static(b"answer")).await.unwrap();
    writer.finish().await;
    assert_eq!(client.read_to_end(id).await, b"answer");
}

#[tokio::test]
async fn a_reset_stream_is_gone_and_others_go_on() {
    let (mut client, mut connection) = connect();
    let first = client.open(&[]).await;
    let second = client.open(&[]).await;
    let mut streams = [
        connection.accept().await.unwrap(),
        connection.accept().await.unwrap(),
    ];
    client.reset(first).await;
    assert_eq!(streams[0].reader.read().await, Err(Gone));
    assert_eq!(streams[0].writer.write(Bytes::from_static(b"x")).await, Err(Gone));
    client.send(second, b"y", false).await;
    assert_eq!(streams[1].reader.read().await.unwrap().unwrap(), "y");
    drop(streams);
    assert_eq!(
        client.receive_of(second).await,
        Some(Frame::Reset { stream: second })
    );
    drop(client);
    connection.closed().await;
    assert!(connection.accept().await.is_none());
}

#[tokio::test]
async fn a_client_that_keeps_account_is_sent_no_more_than_it_takes() {
    let (mut client, mut connection) = connect();
    let windows = Encoder::initial_window(10);
    client.connection.write_all(&windows).await.unwrap();
    let id = client.open(&[]).await;
    let mut stream = connection.accept().await.unwrap();
    let sending = tokio::spawn(async move {
        stream
            .writer
            .write(Bytes::from_static(b"0123456789abcdef"))
            .await
            .unwrap();
        stream.writer.finish().await;
    });
    assert_eq!(client.receive_of(id).await, data(id, b"0123456789", false));
    let more = Encoder::window_update(id, 4);
    client.connection.write_all(&more).await.unwrap();
    assert_eq!(client.receive_of(id).await, data(id, b"abcd", false));
    let more = Encoder::window_update(id, 4);
    client.connection.write_all(&more).await.unwrap();
    assert_eq!(client.receive_of(id).await, data(id, b"ef", false));
    assert_eq!(client.receive_of(id).await, data(id, b"", true));
    sending.await.unwrap();
}

#[tokio::test]
async fn a_client_is_told_what_was_used_up() {
    let (mut client, mut connection) = connect();
    let id = client.open(&[]).await;
    let mut stream = connection.accept().await.unwrap();
    client.send(id, &[b'x'; 40_000], false).await;
    let mut read = 0;
    while read < 40_000 {
        read += stream.reader.read().await.unwrap().unwrap().len();
    }
    let mut told = 0;
    while told < 32 * 1024 {
        if let Some(Frame::WindowUpdate { stream, more }) = client.receive().await
            && stream == id
        {
            told += more;
        }
    }
}

#[tokio::test]
async fn what_nobody_reads_does_not_stand_in_the_way() {
    let (mut client, mut connection) = connect();
    let ignored = client.open(&[]).await;
    let wanted = client.open(&[]).await;
    let Stream {
        reader,
        writer: _kept,
        ..
    } = connection.accept().await.unwrap();
    drop(reader);
    let mut stream = connection.accept().await.unwrap();
    for _ in 0..100 {
        client.send(ignored, &[b'x'; 32 * 1024], false).await;
    }
    client.send(wanted, b"here", false).await;
    assert_eq!(stream.reader.read().await.unwrap().unwrap(), "here");
}

#[tokio::test]
async fn a_flood_of_pings_ends_the_connection() {
    let (client, connection) = connect();
    let (_unread, mut sending) = tokio::io::split(client.connection);
    let pings = Encoder::ping(1).repeat(1000);
    while sending.write_all(&pings).await.is_ok() {}
    connection.closed().await;
}

#[tokio::test(start_paused = true)]
async fn the_client_is_asked_whether_it_is_there_and_an_idle_one_is_left() {
    let begin = Instant::now();
    let (mut client, connection) = connect();
    assert_eq!(client.receive().await, Some(Frame::Ping { id: 2 }));
    assert_eq!(begin.elapsed(), PING_TIME);
    client.connection.write_all(&Encoder::ping(2)).await.unwrap();
    // Its answer does not count as a word of its own.
    while let Some(Frame::Ping { .. }) = client.receive().await {}
    assert_eq!(begin.elapsed(), IDLE_TIME);
    drop(client);
    connection.closed().await;
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_what_was_sent() {
    let (mut client, mut connection) = connect();
    let id = client.open(&[]).await;
    let mut stream = connection.accept().await.unwrap();
    stream.writer.write(Bytes::from_static(b"last")).await.unwrap();
    stream.writer.finish().await;
    let closing = tokio::spawn(connection.close());
    assert_eq!(client.receive().await, Some(Frame::Other));
    assert_eq!(client.receive().await, data(id, b"last", false));
    assert_eq!(client.receive().await, data(id, b"", true));
    assert_eq!(client.receive().await, Some(Frame::GoAway));
    assert_eq!(client.receive().await, None);
    // The client leaves its own side open; that is not waited for without end.
    closing.await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_client_sends_the_connection_ends_with_it(bytes: Vec<u8>, kinds in proptest::collection::vec(0_u8..6, 0..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut client, mut connection) = connect();
            let (mut encoder, mut next) = (Encoder::new(), 1);
            for kind in kinds {
                let frame = match kind {
                    0 | 1 => { next += 2; encoder.open(next - 2, &[("a", "b")], kind == 1) }
                    2 => [Encoder::data_head(next, bytes.len(), true).as_slice(), &bytes].concat(),
                    3 => Encoder::reset(next.wrapping_sub(2), super::super::frame::Reason::Cancelled),
                    4 => Encoder::window_update(next, u32::MAX),
                    _ => Encoder::initial_window(u32::MAX),
                };
                if client.connection.write_all(&frame).await.is_err() { break }
            }
            let _ = client.connection.write_all(&bytes).await;
            let _ = client.connection.shutdown().await;
            let serving = tokio::spawn(async move {
                while let Some(mut stream) = connection.accept().await {
                    tokio::spawn(async move {
                        while let Ok(Some(data)) = stream.reader.read().await {
                            if stream.writer.write(data).await.is_err() { return }
                        }
                        stream.writer.finish().await;
                    });
                }
                connection.closed().await;
            });
            let mut rest = Vec::new();
            let _ = client.connection.read_to_end(&mut rest).await;
            serving.await.unwrap();
        });
    }
}
