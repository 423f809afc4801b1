//! SPDY/3.1 as Kubernetes' clients speak it (spdystream, by itself or through WebSocket messages): the server's side.
//!
//! The client opens streams, told apart by their headers, and waits for the reply to each. From there on it is data frames.
//!
//! ```text
//! client ──frame──► reader task ──a bounded queue each──► StreamReader
//!                      │ what is to be answered
//! client ◄─frame── writer task ◄──── one bounded queue ── StreamWriter
//! ```
//!
//! Without I/O are `frame` and `header`; `table` is what the tasks share. A client that sends more than is taken is not
//! read until it is. The answers to its pings and the like wait in a short list; one that lets it grow is cut off.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

mod connection;
mod frame;
mod header;
mod reader;
mod stream;
mod table;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;

pub(crate) mod session;

pub(crate) use connection::Connection;
pub(crate) use header::Headers;
pub(crate) use stream::{Presence, Stream, StreamReader, StreamWriter};
pub(crate) use table::Gone;

/// What came on a stream.
#[derive(Debug)]
enum Received {
    /// Data, and its place among what waits on the whole connection.
    Data(Bytes, OwnedSemaphorePermit),
    /// The client sends no more.
    End,
}

/// The value of the first header of a name, which is in lower case.
pub(crate) fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find_map(|(other, value)| (other == name).then_some(value.as_str()))
}

#[cfg(test)]
pub(crate) mod client;
