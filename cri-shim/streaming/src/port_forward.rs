//! Connections to ports of a pod: many over one connection of the client.
//!
//! ```text
//! request head ──negotiate──► Accepted: protocol and answer (101), or a Rejection
//! upgraded connection ──open──► Forwards ──next──► Forward: a port, what the client sends, what goes to it
//! ```
//!
//! Over SPDY/3.1 (`portforward.k8s.io`), also inside of WebSocket messages, a client opens two streams for each connection,
//! one for an error and one for data, whenever it likes. The old form over WebSocket has two channels for each port of the
//! query, open from the start, and no way to end one direction alone.

use bytes::Bytes;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::session::Disconnected;
use crate::spdy::{self, Gone, StreamReader, StreamWriter};
use crate::tunnel::Tunnel;
use crate::upgrade::{self, Accepted, Known, Rejection};

mod channels;
mod ports;
mod streams;

use channels::Channels;
pub use ports::{InvalidPorts, ports_from_query};
use streams::Streams;

/// A protocol of port-forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `portforward.k8s.io` over SPDY/3.1.
    Spdy,
    /// `SPDY/3.1+portforward.k8s.io`: the same in binary messages of WebSocket.
    Tunnel,
    /// `v4.channel.k8s.io`, or none offered: two channels for each port, which are in the query.
    Channels,
    /// `v4.base64.channel.k8s.io`: the same in text messages.
    ChannelsBase64,
}

const WEBSOCKET: [(&str, Protocol); 3] = [
    ("SPDY/3.1+portforward.k8s.io", Protocol::Tunnel),
    ("v4.channel.k8s.io", Protocol::Channels),
    ("v4.base64.channel.k8s.io", Protocol::ChannelsBase64),
];

const SPDY: [(&str, Protocol); 1] = [("portforward.k8s.io", Protocol::Spdy)];

impl Protocol {
    /// The ports are in the query, not in what follows.
    #[must_use]
    pub fn has_ports_in_query(self) -> bool {
        matches!(self, Self::Channels | Self::ChannelsBase64)
    }
}

/// Agrees on a protocol: the first that the client offers and this server knows.
///
/// # Errors
/// [`Rejection`] where the request is no upgrade to WebSocket or SPDY/3.1, or offers nothing that is known here.
pub fn negotiate(request: &Parts) -> Result<Accepted<Protocol>, Rejection> {
    let websocket = Known {
        names: &WEBSOCKET,
        oldest: Protocol::Channels,
    };
    let spdy = Known {
        names: &SPDY,
        oldest: Protocol::Spdy,
    };
    upgrade::negotiate(request, &websocket, &spdy)
}

/// A client that wants connections.
#[derive(Debug)]
pub struct Forwards(Kind);

#[derive(Debug)]
enum Kind {
    Streams(Streams),
    Channels(Channels),
}

/// Takes a connection over after the upgrade. `ports` are those of the query, for the protocols that have them there. Must
/// be called inside a tokio runtime.
pub async fn open<S>(connection: S, protocol: Protocol, ports: &[u16]) -> Forwards
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Forwards(match protocol {
        Protocol::Spdy => Kind::Streams(Streams::start(connection)),
        Protocol::Tunnel => Kind::Streams(Streams::start(Tunnel::new(connection).await)),
        Protocol::Channels => Kind::Channels(Channels::start(connection, false, ports).await),
        Protocol::ChannelsBase64 => Kind::Channels(Channels::start(connection, true, ports).await),
    })
}

impl Forwards {
    /// The next connection that is wanted; None: there will be no more, but earlier ones may go on. Cancel-safe.
    pub async fn next(&mut self) -> Option<Forward> {
        match &mut self.0 {
            Kind::Streams(streams) => streams.next().await,
            Kind::Channels(channels) => channels.next(),
        }
    }

    /// Closes the client's connection in good order, after all that was sent.
    pub async fn close(self) {
        match self.0 {
            Kind::Streams(streams) => streams.close().await,
            Kind::Channels(channels) => channels.close().await,
        }
    }
}

/// One connection that a client wants.
#[derive(Debug)]
pub struct Forward {
    /// To which port, 1 to 65535.
    pub port: u16,
    /// What the client sends.
    pub reader: Reader,
    /// What goes to the client.
    pub writer: Writer,
    /// Whether the client still wants it.
    pub presence: Presence,
}

/// Tells when a connection is over.
#[derive(Debug)]
pub struct Presence(Watched);

#[derive(Debug)]
enum Watched {
    Stream(spdy::Presence),
    Channels(mpsc::Sender<(u8, Bytes)>),
}

impl Presence {
    /// Resolves when the client has given the connection up, or is gone; or when both sides have ended it.
    pub async fn over(&self) {
        match &self.0 {
            Watched::Stream(stream) => stream.over().await,
            Watched::Channels(queue) => queue.closed().await,
        }
    }
}

/// What a client sends on one connection. Once dropped, the rest is thrown away.
#[derive(Debug)]
pub struct Reader(Source);

#[derive(Debug)]
enum Source {
    Stream(StreamReader),
    Channel(mpsc::Receiver<Bytes>),
}

/// What goes to a client on one connection. Dropping it without [`Writer::end`] breaks the connection off.
#[derive(Debug)]
pub struct Writer(Sink);

#[derive(Debug)]
enum Sink {
    Streams {
        data: Option<StreamWriter>,
        error: StreamWriter,
    },
    Channels(channels::Writer),
}

impl Reader {
    /// What came next; None: the client sends no more. Cancel-safe.
    ///
    /// # Errors
    /// [`Disconnected`]: the client has given the connection up, or is gone.
    pub async fn read(&mut self) -> Result<Option<Bytes>, Disconnected> {
        match &mut self.0 {
            Source::Stream(stream) => stream.read().await.map_err(|Gone| Disconnected),
            Source::Channel(channel) => channel.recv().await.map(Some).ok_or(Disconnected),
        }
    }
}

impl Writer {
    /// Sends data, as soon as the client takes it.
    ///
    /// # Errors
    /// [`Disconnected`]: the client has given the connection up, or is gone; or data was finished.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Disconnected> {
        match &mut self.0 {
            Sink::Streams { data: Some(data), .. } => data.write(bytes).await.map_err(|Gone| Disconnected),
            Sink::Streams { data: None, .. } => Err(Disconnected),
            Sink::Channels(channels) => channels.data(bytes).await,
        }
    }

    /// Says that no more data comes; the other direction goes on. The protocols of channels cannot say it.
    pub async fn finish(&mut self) {
        if let Sink::Streams { data, .. } = &mut self.0
            && let Some(data) = data.take()
        {
            data.finish().await;
        }
    }

    /// Ends the connection, both ways; with what went wrong, if anything did.
    pub async fn end(self, error: Option<&str>) {
        match (self.0, error) {
            (Sink::Streams { data, error }, None) => {
                if let Some(data) = data {
                    data.finish().await;
                }
                error.finish().await;
            }
            (Sink::Streams { data, mut error }, Some(text)) => {
                // A client that is gone needs no reason.
                let _ = error.write(Bytes::copy_from_slice(text.as_bytes())).await;
                error.finish().await;
                if let Some(data) = data {
                    data.reset().await;
                }
            }
            (Sink::Channels(channels), Some(text)) => channels.error(text).await,
            (Sink::Channels(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests;
