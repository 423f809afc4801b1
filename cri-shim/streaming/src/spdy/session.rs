//! A remote command over SPDY/3.1: a stream for each of the end, stdin, stdout, stderr and sizes.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Connection, Headers, Stream, StreamReader, StreamWriter, header};
use crate::options::Options;
use crate::protocol::Protocol;
use crate::session::{Ends, Size, ToClient};

/// How long a client may take to open its streams.
const OPENING_TIME: Duration = Duration::from_secs(30);
/// The longest terminal size that is read, in bytes.
const MAX_SIZE_BYTES: usize = 256;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Error,
    Stdin,
    Stdout,
    Stderr,
    Sizes,
}

/// Starts a session and waits until the client's streams are there, or will not come.
pub(crate) async fn start<S>(connection: S, protocol: Protocol, options: &Options, ends: Ends)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let kinds = wanted(protocol, options);
    let mut connection = Connection::start(connection, policy(kinds.clone()));
    let opening = timeout(OPENING_TIME, open(&mut connection, kinds.len()));
    let Ok(Some(streams)) = opening.await else {
        tracing::debug!("a remote command's client does not open its streams");
        return;
    };
    let Ends { stdin, sizes, queue } = ends;
    let mut outputs = Outputs::default();
    for stream in streams {
        let (reader, writer) = (stream.reader, stream.writer);
        match kind(&stream.headers) {
            Some(Kind::Stdin) => {
                if let Some(stdin) = stdin.clone() {
                    tokio::spawn(feed(reader, writer, stdin));
                }
            }
            Some(Kind::Sizes) => drop(tokio::spawn(resize(reader, writer, sizes.clone()))),
            Some(Kind::Stdout) => outputs.stdout = Some(writer),
            Some(Kind::Stderr) => outputs.stderr = Some(writer),
            Some(Kind::Error) => outputs.error = Some(writer),
            None => {}
        }
    }
    drop((stdin, sizes));
    tokio::spawn(write(connection, outputs, queue));
}

/// The streams that the client must open, no more and no less.
fn wanted(protocol: Protocol, options: &Options) -> Vec<Kind> {
    let kinds = [
        (Kind::Error, true),
        (Kind::Stdin, options.stdin),
        (Kind::Stdout, options.stdout),
        (Kind::Stderr, options.stderr),
        (Kind::Sizes, options.tty && protocol.has_sizes()),
    ];
    kinds
        .into_iter()
        .filter_map(|(kind, wanted)| wanted.then_some(kind))
        .collect()
}

/// Each kind is accepted once.
fn policy(mut missing: Vec<Kind>) -> Box<dyn FnMut(&Headers) -> bool + Send> {
    Box::new(move |headers| {
        let index = missing.iter().position(|wanted| Some(*wanted) == kind(headers));
        index.map(|index| missing.swap_remove(index)).is_some()
    })
}

fn kind(headers: &Headers) -> Option<Kind> {
    Some(match header(headers, "streamtype")? {
        "error" => Kind::Error,
        "stdin" => Kind::Stdin,
        "stdout" => Kind::Stdout,
        "stderr" => Kind::Stderr,
        "resize" => Kind::Sizes,
        _ => return None,
    })
}

async fn open(connection: &mut Connection, count: usize) -> Option<Vec<Stream>> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        streams.push(connection.accept().await?);
    }
    Some(streams)
}

/// Hands input to the program. What comes after it reads no more is thrown away, as a closed pipe does.
async fn feed(mut reader: StreamReader, writer: StreamWriter, stdin: mpsc::Sender<Bytes>) {
    while let Ok(Some(data)) = reader.read().await {
        if stdin.send(data).await.is_err() {
            break;
        }
    }
    drop((reader, stdin));
    // Not reset: a client that still sends would take that for an error.
    writer.finish().await;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TerminalSize {
    width: u16,
    height: u16,
}

/// Sizes are lines of JSON, in whatever pieces.
async fn resize(mut reader: StreamReader, writer: StreamWriter, sizes: watch::Sender<Option<Size>>) {
    let mut line = Vec::new();
    while let Ok(Some(data)) = reader.read().await {
        line.extend(data);
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            if let Ok(TerminalSize { width, height }) = serde_json::from_slice(&line[..end]) {
                sizes.send_replace(Some(Size { width, height }));
            }
            line.drain(..=end);
        }
        if line.len() > MAX_SIZE_BYTES {
            line.clear();
        }
    }
    writer.finish().await;
}

/// The streams that the server writes; none that the client has reset.
#[derive(Default)]
struct Outputs {
    stdout: Option<StreamWriter>,
    stderr: Option<StreamWriter>,
    error: Option<StreamWriter>,
}

async fn write(connection: Connection, mut outputs: Outputs, mut queue: mpsc::Receiver<ToClient>) {
    loop {
        let message = tokio::select! {
            message = queue.recv() => message,
            () = connection.closed() => return,
        };
        match message {
            Some(ToClient::Stdout(data)) => send(&mut outputs.stdout, data).await,
            Some(ToClient::Stderr(data)) => send(&mut outputs.stderr, data).await,
            Some(ToClient::End(text)) => {
                if let Some(text) = text {
                    send(&mut outputs.error, text).await;
                }
                let Outputs {
                    stdout,
                    stderr,
                    error,
                } = outputs;
                for stream in [stdout, stderr, error].into_iter().flatten() {
                    stream.finish().await;
                }
                return connection.close().await;
            }
            None => return,
        }
    }
}

async fn send(stream: &mut Option<StreamWriter>, data: Bytes) {
    if let Some(writer) = stream
        && writer.write(data).await.is_err()
    {
        *stream = None;
    }
}

#[cfg(test)]
mod tests;
