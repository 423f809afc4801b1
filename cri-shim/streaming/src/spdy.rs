//! SPDY/3.1 as clients from before WebSocket speak it (`kubectl` up to 1.30, client-go's SPDY executor): the server's side.
//!
//! The client opens a stream for each of stdin, stdout, stderr, sizes and the end, told apart by the header
//! `streamtype`, and waits for the reply to each. From there on it is data frames. SPDY's flow control is not used: no
//! client of Kubernetes' does (spdystream knows window updates as a number only), so bounded queues and TCP do its work.
//!
//! ```text
//! bytes ──frame::Decoder──► frames ──session──► Input, Output      sans I/O: frame, header; I/O: session
//! ```

mod frame;
mod header;
pub(crate) mod session;
