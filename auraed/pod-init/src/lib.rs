//! The program that holds a pod, and the protocol that the daemon speaks to it.
//!
//! One process of this program is the parent of a pod's containers and stands in for pause, shim and monitor at once:
//! it holds the namespaces, reaps, writes the log files, records exits, and answers the daemon on `init.sock`. It has
//! one thread and one event loop, never waits for anything but that loop, and outlives the daemon.
//!
//! * [`protocol`]: the messages. The daemon (`auraed-sandbox`) uses this and [`wire`] alone.
//! * [`wire`]: frames with file descriptors on a Unix stream socket.

pub mod protocol;
pub mod wire;
