//! Streams as kubectl speaks them: exec, attach and port-forward over WebSocket and SPDY/3.1, the server's side.
//!
//! The kubelet API (kubelet-bridge) and the CRI streaming server (cri-shim) both take such requests; what runs the
//! program is theirs. A request's way through here:
//!
//! ```text
//! request head ──Options::from_query──► which streams, which program
//!              ──negotiate──► Accepted: protocol and answer (101), or Rejection (an HTTP status and a text)
//! upgraded connection ──session::open──► Input (stdin, sizes)  and  Output (stdout, stderr, the end)
//! ```
//!
//! Served over WebSocket are the subprotocols `v5.channel.k8s.io` and `v4.channel.k8s.io`, its base64 form, and the two
//! unversioned ones. Each message is a channel's number and data: 0 stdin, 1 stdout, 2 stderr, 3 the end, 4 terminal
//! sizes; v5 adds 255, by which the client closes a channel. Older clients come over SPDY/3.1, with a stream for each.
//! A slow program holds its client back and a slow client its program: queues are short and bounded.
//!
//! [`port_forward`] is the same for connections to a pod's ports.
//!
//! What comes from a client is hostile: sizes, counts and times are bounded, and no bytes are a panic. A client that says
//! nothing for four hours is left; one that is gone without a word is found out by pings.

pub mod options;
pub mod outcome;
pub mod port_forward;
pub mod protocol;
pub mod session;
pub mod upgrade;

mod activity;
mod frame;
mod spdy;
mod tunnel;
mod websocket;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

pub use options::{InvalidOptions, Options};
pub use outcome::Outcome;
pub use protocol::{Protocol, negotiate};
pub use session::{Disconnected, Input, Output, Size};
pub use upgrade::{Accepted, Rejection};
