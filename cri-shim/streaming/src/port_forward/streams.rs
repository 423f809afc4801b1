//! Over SPDY/3.1: two streams for each connection, which belong together by the header `requestid`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::{Forward, Presence, Reader, Sink, Source, Watched, Writer, ports};
use crate::spdy::{Connection, Headers, Stream, header};

/// How long a client may take to open the second stream of a pair.
const PAIRING_TIME: Duration = Duration::from_secs(30);
/// Streams that wait for their other half; more make the oldest give up.
const MAX_WAITING: usize = 256;
/// The longest name of a pair that is read, in bytes; clients count.
const MAX_REQUEST_BYTES: usize = 128;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Streams {
    connection: Connection,
    /// The oldest first.
    waiting: VecDeque<Waiting>,
}

/// A stream whose other half has not come yet.
#[derive(Debug)]
struct Waiting {
    until: Instant,
    request: String,
    kind: Kind,
    stream: Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Error,
    Data,
}

impl Streams {
    pub(super) fn start<S>(connection: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let policy =
            |headers: &Headers| port(headers).is_some() && kind(headers).is_some() && is_short(headers);
        Self {
            connection: Connection::start(connection, Box::new(policy)),
            waiting: VecDeque::new(),
        }
    }

    pub(super) async fn next(&mut self) -> Option<Forward> {
        loop {
            let until = self.waiting.front().map(|waiting| waiting.until);
            tokio::select! {
                stream = self.connection.accept() => {
                    if let Some(forward) = self.pair(stream?) {
                        return Some(forward);
                    }
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => self.give_up(),
            }
        }
    }

    pub(super) async fn close(self) {
        self.connection.close().await;
    }

    fn pair(&mut self, stream: Stream) -> Option<Forward> {
        let kind = kind(&stream.headers)?;
        let request = request(&stream, kind);
        let Some(index) = self.waiting.iter().position(|waiting| waiting.request == request) else {
            if self.waiting.len() >= MAX_WAITING {
                self.give_up();
            }
            self.waiting.push_back(Waiting {
                until: Instant::now() + PAIRING_TIME,
                request,
                kind,
                stream,
            });
            return None;
        };
        if self.waiting.get(index).is_some_and(|other| other.kind == kind) {
            // A second one of the same kind: dropping it resets it.
            return None;
        }
        let other = self.waiting.remove(index)?.stream;
        let (error, data) = match kind {
            Kind::Error => (stream, other),
            Kind::Data => (other, stream),
        };
        Some(Forward {
            port: port(&data.headers)?,
            presence: Presence(Watched::Stream(data.writer.presence())),
            reader: Reader(Source::Stream(data.reader)),
            writer: Writer(Sink::Streams {
                data: Some(data.writer),
                error: error.writer,
            }),
        })
    }

    /// Lets go of the stream that has waited longest.
    fn give_up(&mut self) {
        let Some(waiting) = self.waiting.pop_front() else {
            return;
        };
        let Waiting {
            request,
            kind,
            stream,
            ..
        } = waiting;
        tracing::debug!(request, "a port-forward's second stream does not come");
        if kind == Kind::Error {
            let mut writer = stream.writer;
            tokio::spawn(async move {
                let text = format!("(request={request}) timed out waiting for streams");
                let _ = writer.write(Bytes::from(text)).await;
                writer.finish().await;
            });
        }
    }
}

fn kind(headers: &Headers) -> Option<Kind> {
    Some(match header(headers, "streamtype")? {
        "error" => Kind::Error,
        "data" => Kind::Data,
        _ => return None,
    })
}

fn port(headers: &Headers) -> Option<u16> {
    ports::parse(header(headers, "port")?)
}

fn is_short(headers: &Headers) -> bool {
    header(headers, "requestid").is_none_or(|request| request.len() <= MAX_REQUEST_BYTES)
}

/// What a stream's pair is called. Clients from before 1.2 gave no name; they open the error stream, then the other.
fn request(stream: &Stream, kind: Kind) -> String {
    match header(&stream.headers, "requestid") {
        Some(request) if !request.is_empty() => request.to_owned(),
        _ if kind == Kind::Error => stream.id.to_string(),
        _ => stream.id.wrapping_sub(2).to_string(),
    }
}
