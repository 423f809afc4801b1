//! A remote command's connection, from the upgrade to the end.
//!
//! ```text
//! client ──frame──► reader task ──bounded queue──► Input::stdin   (EOF: the client closed it, or is gone)
//!                               ──latest──► Input::sizes
//! Output ──bounded queue──► writer task ──frame──► client          (finish: the end, then the closing)
//! ```
//!
//! Two tasks own the two halves of the connection. Both end with the client or with the session; neither outlives both.

use crate::options::Options;
use crate::outcome::Outcome;
use crate::protocol::Protocol;
use crate::{spdy, websocket};
use bytes::Bytes;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

/// Messages under way in each direction.
const QUEUE: usize = 8;
/// How long a client may take to close its side.
pub(crate) const CLOSING_TIME: Duration = Duration::from_secs(5);

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// The client went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client went away")]
pub struct Disconnected;

/// What the client sends.
#[derive(Debug)]
pub struct Input {
    /// Standard input; closed at its end.
    pub stdin: mpsc::Receiver<Bytes>,
    /// The terminal's latest size, if the client told one.
    pub sizes: watch::Receiver<Option<Size>>,
}

/// What goes to the client. Dropping it without [`Output::finish`] closes the connection without an end.
#[derive(Clone, Debug)]
pub struct Output {
    protocol: Protocol,
    queue: mpsc::Sender<ToClient>,
}

/// One message to the client, in whatever protocol.
#[derive(Debug)]
pub(crate) enum ToClient {
    Stdout(Bytes),
    Stderr(Bytes),
    /// The last one: what the protocol says of the end, if anything.
    End(Option<Bytes>),
}

/// The tasks' ends of a session's queues.
#[derive(Debug)]
pub(crate) struct Ends {
    /// None: the client is not to send any, or will not any more.
    pub(crate) stdin: Option<mpsc::Sender<Bytes>>,
    pub(crate) sizes: watch::Sender<Option<Size>>,
    pub(crate) queue: mpsc::Receiver<ToClient>,
}

/// Takes a connection over after the upgrade. Must be called inside a tokio runtime.
///
/// Over SPDY this waits for the client to open its streams, half a minute at most; if it does not, the session is
/// disconnected from the start.
pub async fn open<S>(connection: S, protocol: Protocol, options: &Options) -> (Input, Output)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stdin_sender, stdin) = mpsc::channel(QUEUE);
    let (size_sender, sizes) = watch::channel(None);
    let (sender, queue) = mpsc::channel(QUEUE);
    let ends = Ends {
        stdin: options.stdin.then_some(stdin_sender),
        sizes: size_sender,
        queue,
    };
    if protocol.is_spdy() {
        spdy::session::start(connection, protocol, options, ends).await;
    } else {
        websocket::start(connection, protocol, options, ends).await;
    }
    (
        Input { stdin, sizes },
        Output {
            protocol,
            queue: sender,
        },
    )
}

impl Output {
    /// Sends standard output.
    ///
    /// # Errors
    /// [`Disconnected`].
    pub async fn stdout(&self, data: impl Into<Bytes>) -> Result<(), Disconnected> {
        self.send(ToClient::Stdout(data.into())).await
    }

    /// Sends standard error.
    ///
    /// # Errors
    /// [`Disconnected`].
    pub async fn stderr(&self, data: impl Into<Bytes>) -> Result<(), Disconnected> {
        self.send(ToClient::Stderr(data.into())).await
    }

    /// Tells how the program ended, after all its output, and closes the connection. Returns when that is closed: a server
    /// that ends before would take what is under way with it.
    ///
    /// # Errors
    /// [`Disconnected`].
    pub async fn finish(self, outcome: &Outcome) -> Result<(), Disconnected> {
        self.send(ToClient::End(outcome.encode(self.protocol))).await?;
        self.closed().await;
        Ok(())
    }

    /// Resolves when the client is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }

    async fn send(&self, message: ToClient) -> Result<(), Disconnected> {
        self.queue.send(message).await.map_err(|_| Disconnected)
    }
}
