//! What the fuzzers' bodies need of this protocol's inside.

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;

use super::Connection;
use super::frame::{Decoder, Frame, Violation};
use super::header::Reader;

/// All frames of the bytes, given in steps; parts of the same data frame are put together.
pub(crate) fn meaning(bytes: &[u8], step: usize) -> Result<Vec<Frame>, Violation> {
    let (mut decoder, mut received, mut frames) = (Decoder::new(), BytesMut::new(), Vec::new());
    for part in bytes.chunks(step.max(1)) {
        received.extend_from_slice(part);
        while let Some(frame) = decoder.decode(&mut received)? {
            add(&mut frames, frame);
        }
    }
    Ok(frames)
}

fn add(frames: &mut Vec<Frame>, frame: Frame) {
    if let Some(Frame::Data {
        stream: before,
        data: all,
        ends: ended @ false,
    }) = frames.last_mut()
        && let Frame::Data { stream, data, ends } = &frame
        && before == stream
    {
        *all = [all.as_ref(), data].concat().into();
        *ended = *ends;
    } else {
        frames.push(frame);
    }
}

/// Reads blocks by one reader until one is wrong.
pub(crate) fn header_blocks(mut bytes: &[u8]) {
    let mut reader = Reader::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (block, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        if reader.read(block).is_err() {
            return;
        }
        bytes = rest;
    }
}

/// Serves a client that sends these bytes and closes.
pub(crate) async fn connection(bytes: BytesMut) {
    let (mut client, server) = tokio::io::duplex(1024);
    let mut connection = Connection::start(server, Box::new(|headers| headers.len() % 2 == 0));
    let sending = async {
        let _ = client.write_all(&bytes).await;
        drop(client);
    };
    let serving = async {
        while let Some(mut stream) = connection.accept().await {
            tokio::spawn(async move { while let Ok(Some(_)) = stream.reader.read().await {} });
        }
        connection.closed().await;
    };
    tokio::join!(sending, serving);
}
