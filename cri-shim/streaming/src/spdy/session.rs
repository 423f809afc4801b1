//! A session over SPDY/3.1: the client's streams, the two tasks, the end.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::frame::{Decoder, Encoder, Frame};
use crate::options::Options;
use crate::protocol::Protocol;
use crate::session::{CLOSING_TIME, Ends, Size, ToClient};

/// How long a client may take to open its streams.
const OPENING_TIME: Duration = Duration::from_secs(30);
/// The longest terminal size that is read, in bytes.
const MAX_SIZE_BYTES: usize = 256;
/// Frames that the reader wants answered, under way to the writer.
const ANSWERS: usize = 8;
/// The most data that goes into one frame, in bytes.
const CHUNK: usize = 256 * 1024;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Error,
    Stdin,
    Stdout,
    Stderr,
    Sizes,
}

/// What the reader has the writer say.
#[derive(Debug)]
enum Answer {
    Accept(u32, Kind),
    Refuse(u32),
    Ping(u32),
}

/// Starts the two tasks of a session and waits until the client's streams are there, or will not come.
pub(crate) async fn start<S>(connection: S, protocol: Protocol, options: &Options, ends: Ends)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (read, write) = tokio::io::split(connection);
    let (answers, answers_receiver) = mpsc::channel(ANSWERS);
    let (complete, completed) = oneshot::channel();
    let Ends { stdin, sizes, queue } = ends;
    let reader = Reader {
        wanted: wanted(protocol, options),
        opened: Vec::new(),
        complete: Some(complete),
        stdin,
        sizes,
        size: Vec::new(),
        answers,
    };
    let reader = tokio::spawn(reader.run(read));
    let stop = reader.abort_handle();
    tokio::spawn(
        Writer {
            write,
            encoder: Encoder::new(),
            opened: Vec::new(),
        }
        .run(queue, answers_receiver, reader),
    );
    if timeout(OPENING_TIME, completed).await.is_err() {
        tracing::debug!("a remote command's client does not open its streams");
        stop.abort();
    }
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

impl Kind {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "error" => Self::Error,
            "stdin" => Self::Stdin,
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            "resize" => Self::Sizes,
            _ => return None,
        })
    }
}

/// The task that reads.
struct Reader {
    wanted: Vec<Kind>,
    opened: Vec<(u32, Kind)>,
    complete: Option<oneshot::Sender<()>>,
    stdin: Option<mpsc::Sender<Bytes>>,
    sizes: tokio::sync::watch::Sender<Option<Size>>,
    /// The beginning of a size whose end has not come yet.
    size: Vec<u8>,
    answers: mpsc::Sender<Answer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TerminalSize {
    width: u16,
    height: u16,
}

impl Reader {
    async fn run<S: AsyncRead>(mut self, mut connection: ReadHalf<S>) {
        let (mut decoder, mut received) = (Decoder::new(), BytesMut::new());
        loop {
            match decoder.decode(&mut received) {
                Ok(Some(Frame::GoAway)) => return,
                Ok(Some(frame)) => self.take(frame).await,
                Ok(None) => match connection.read_buf(&mut received).await {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "remote command's connection");
                        return;
                    }
                },
                Err(violation) => {
                    tracing::debug!(error = %violation, "remote command's connection");
                    return;
                }
            }
        }
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Open {
                stream,
                headers,
                ends,
            } => {
                let kind = headers.iter().find(|(name, _)| name == "streamtype");
                let kind = kind.and_then(|(_, value)| Kind::from_name(value));
                self.open(stream, kind).await;
                if ends {
                    self.end(stream);
                }
            }
            Frame::Data { stream, data, ends } => {
                self.data(stream, data).await;
                if ends {
                    self.end(stream);
                }
            }
            Frame::Reset { stream } => self.end(stream),
            Frame::Ping { id } => self.answer(Answer::Ping(id)).await,
            Frame::GoAway | Frame::Other => {}
        }
    }

    async fn open(&mut self, stream: u32, kind: Option<Kind>) {
        let is_taken = |kind: &Kind| {
            self.opened
                .iter()
                .any(|(id, other)| *id == stream || other == kind)
        };
        match kind.filter(|kind| self.wanted.contains(kind) && !is_taken(kind)) {
            Some(kind) => {
                self.opened.push((stream, kind));
                self.answer(Answer::Accept(stream, kind)).await;
                if self.opened.len() == self.wanted.len()
                    && let Some(complete) = self.complete.take()
                {
                    // No one waits any more: the session is being stopped.
                    let _ = complete.send(());
                }
            }
            None => self.answer(Answer::Refuse(stream)).await,
        }
    }

    async fn data(&mut self, stream: u32, data: Bytes) {
        match self.kind(stream) {
            Some(Kind::Stdin) if !data.is_empty() => {
                if let Some(stdin) = &self.stdin
                    && stdin.send(data).await.is_err()
                {
                    // The program reads no more: what follows is thrown away, as a closed pipe does.
                    self.stdin = None;
                }
            }
            Some(Kind::Sizes) => self.resize(&data),
            _ => {}
        }
    }

    // Sizes are lines of JSON.
    fn resize(&mut self, data: &[u8]) {
        self.size.extend(data);
        while let Some(end) = self.size.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.size.drain(..=end).collect();
            if let Ok(TerminalSize { width, height }) = serde_json::from_slice(&line) {
                self.sizes.send_replace(Some(Size { width, height }));
            }
        }
        if self.size.len() > MAX_SIZE_BYTES {
            self.size.clear();
        }
    }

    fn end(&mut self, stream: u32) {
        if self.kind(stream) == Some(Kind::Stdin) {
            self.stdin = None;
        }
    }

    fn kind(&self, stream: u32) -> Option<Kind> {
        self.opened
            .iter()
            .find_map(|(id, kind)| (*id == stream).then_some(*kind))
    }

    async fn answer(&self, answer: Answer) {
        // The writer stops listening when it closes the connection; the client then hears that.
        let _ = self.answers.send(answer).await;
    }
}

/// The task that writes.
struct Writer<S> {
    write: WriteHalf<S>,
    encoder: Encoder,
    opened: Vec<(u32, Kind)>,
}

impl<S: AsyncRead + AsyncWrite> Writer<S> {
    async fn run(
        mut self,
        mut queue: mpsc::Receiver<ToClient>,
        mut answers: mpsc::Receiver<Answer>,
        mut reader: JoinHandle<()>,
    ) {
        loop {
            let written = tokio::select! {
                biased;
                Some(answer) = answers.recv() => self.answer(answer).await,
                message = queue.recv() => match message {
                    Some(ToClient::Stdout(data)) => self.data(Kind::Stdout, &data).await,
                    Some(ToClient::Stderr(data)) => self.data(Kind::Stderr, &data).await,
                    Some(ToClient::End(text)) => {
                        drop(answers);
                        if self.end(text).await.is_ok() {
                            // The client has read everything when it closes its side.
                            let _ = timeout(CLOSING_TIME, &mut reader).await;
                        }
                        break;
                    }
                    None => break,
                },
                _ = &mut reader => return,
            };
            if written.is_err() {
                break;
            }
        }
        reader.abort();
    }

    async fn answer(&mut self, answer: Answer) -> io::Result<()> {
        let frame = match answer {
            Answer::Accept(stream, kind) => {
                self.opened.push((stream, kind));
                self.encoder.reply(stream)
            }
            Answer::Refuse(stream) => Encoder::refuse(stream),
            Answer::Ping(id) => Encoder::ping(id),
        };
        self.write.write_all(&frame).await?;
        self.write.flush().await
    }

    async fn data(&mut self, kind: Kind, data: &[u8]) -> io::Result<()> {
        let Some(stream) = self.stream(kind) else {
            return Ok(());
        };
        for chunk in data.chunks(CHUNK) {
            self.write
                .write_all(&Encoder::data_head(stream, chunk.len(), false))
                .await?;
            self.write.write_all(chunk).await?;
        }
        self.write.flush().await
    }

    /// Says the end, ends each stream of the server's, and closes this side.
    async fn end(&mut self, text: Option<Bytes>) -> io::Result<()> {
        if let Some(text) = text {
            self.data(Kind::Error, &text).await?;
        }
        for kind in [Kind::Stdout, Kind::Stderr, Kind::Error] {
            if let Some(stream) = self.stream(kind) {
                self.write.write_all(&Encoder::data_head(stream, 0, true)).await?;
            }
        }
        let last = self.opened.iter().map(|(stream, _)| *stream).max().unwrap_or(0);
        self.write.write_all(&Encoder::go_away(last)).await?;
        self.write.flush().await?;
        self.write.shutdown().await
    }

    fn stream(&self, kind: Kind) -> Option<u32> {
        self.opened
            .iter()
            .find_map(|(stream, other)| (*other == kind).then_some(*stream))
    }
}

#[cfg(test)]
mod tests;
