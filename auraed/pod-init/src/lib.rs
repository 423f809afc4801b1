//! The program that holds a pod, and the protocol that the daemon speaks to it.
//!
//! One process of this program is the parent of a pod's containers and stands in for pause, shim and monitor at once:
//! it holds the namespaces, reaps, writes the log files, records exits, and answers the daemon on `init.sock`. It has
//! one thread and one event loop, never waits for anything but that loop, and outlives the daemon.
//!
//! * [`protocol`]: the messages. The daemon (`auraed-sandbox`) uses this, [`wire`], [`part`] and [`root`] alone.
//! * [`wire`]: frames with file descriptors on a Unix stream socket.
//! * [`part`]: parts of volumes, as both look them up.
//! * [`root`]: roots of containers, as both make them.
//! * `init`: the event loop and what it owns. `child`: what a new process does before it becomes a container's program.
//! * `log`: log files in the CRI format.

mod cgroup;
mod child;
mod fault;
mod file;
mod init;
mod log;
pub mod part;
pub mod protocol;
pub mod root;
mod sys;
pub mod wire;

/// Runs a pod init on the descriptors that this process was started with: the daemon's connection (3) and the bound socket
/// (4). Returns its exit code. The process must have one thread and nothing else to do.
pub fn run() -> i32 {
    init::run()
}
