//! Programs run beside a container's own, and clients of its standard streams.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use auraed_pod_init::protocol::{self, Call, Reply, TerminalSize, User};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::oneshot;

use super::launch::step;
use super::{Error, Sandbox};
use crate::sys;

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
    /// The write end; with a terminal a second descriptor of it. Non-blocking. Close it to end the program's input (a
    /// terminal's input ends with its end-of-file character).
    pub stdin: Option<OwnedFd>,
    /// The read end, or the terminal (reading it fails with EIO once all its users are gone). Non-blocking.
    pub stdout: OwnedFd,
    /// The read end; none with a terminal. Non-blocking.
    pub stderr: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    number: u64,
    exit: oneshot::Receiver<i32>,
    exited: Option<i32>,
    sandbox: Sandbox,
}

/// Our ends of a program's streams.
struct Streams {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Sandbox {
    /// Runs a program in a running container; returns when it was executed.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Refused`] if there is no such program, user or directory in the container,
    /// [`Error::Gone`].
    pub async fn exec(&self, container: &str, spec: ExecSpec) -> Result<Exec, Error> {
        let failed = || step("make the streams of an exec", self.id());
        let mut ours = None;
        let mut theirs = Vec::new();
        if spec.terminal.is_none() {
            let (near, far) = make_streams(&spec, self.inner.host.null()).map_err(failed())?;
            (ours, theirs) = (Some(near), far);
        }
        let wants_stdin = spec.stdin;
        let ExecSpec {
            args,
            env,
            cwd,
            user,
            terminal,
            ..
        } = spec;
        let exec = Box::new(protocol::Exec {
            args,
            env,
            cwd,
            user,
            terminal,
        });
        let call = Call::Exec {
            container: container.to_owned(),
            exec,
        };
        let (told, exit) = oneshot::channel();
        let (reply, descriptors) = self.inner.connection.call_exec(call, theirs, told).await?;
        let Reply::Executing { exec: number } = reply else {
            return Err(unexpected());
        };
        let base = (number, exit, self.clone());
        match ours {
            Some(streams) => Ok(Exec::with_pipes(streams, base)),
            None => {
                let terminal = descriptors.into_iter().next().ok_or_else(unexpected)?;
                Exec::with_terminal(terminal, wants_stdin, base).map_err(failed())
            }
        }
    }

    /// Takes part in a container's standard streams from now on; without `stdin` in its output alone.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Gone`].
    pub async fn attach(&self, container: &str, stdin: bool) -> Result<Attachment, Error> {
        let call = Call::Attach {
            container: container.to_owned(),
            output_only: !stdin,
        };
        let (reply, descriptors) = self.inner.connection.call(call, Vec::new()).await?;
        let Reply::Attached { stdin, terminal } = reply else {
            return Err(unexpected());
        };
        for descriptor in &descriptors {
            set_nonblocking(descriptor).map_err(step("use the streams of an attach", self.id()))?;
        }
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or_else(unexpected);
        Ok(Attachment {
            stdin: if stdin { Some(next()?) } else { None },
            stdout: next()?,
            stderr: if terminal { None } else { Some(next()?) },
        })
    }
}

impl Exec {
    fn with_pipes(streams: Streams, (number, exit, sandbox): (u64, oneshot::Receiver<i32>, Sandbox)) -> Self {
        let Streams {
            stdin,
            stdout,
            stderr,
        } = streams;
        Self {
            stdin,
            stdout,
            stderr: Some(stderr),
            terminal: None,
            number,
            exit,
            exited: None,
            sandbox,
        }
    }

    fn with_terminal(
        terminal: OwnedFd,
        stdin: bool,
        (number, exit, sandbox): (u64, oneshot::Receiver<i32>, Sandbox),
    ) -> io::Result<Self> {
        set_nonblocking(&terminal)?;
        let stdin = if stdin { Some(terminal.try_clone()?) } else { None };
        let stdout = terminal.try_clone()?;
        Ok(Self {
            stdin,
            stdout,
            stderr: None,
            terminal: Some(terminal),
            number,
            exit,
            exited: None,
            sandbox,
        })
    }

    /// Sets the terminal's size. Nothing happens without a terminal.
    pub fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        let Some(terminal) = &self.terminal else {
            return Ok(());
        };
        sys::set_terminal_size(terminal.as_fd(), size.columns, size.rows)
            .map_err(step("resize a terminal", self.sandbox.id()))
    }

    /// Signals the program's main process.
    ///
    /// # Errors
    /// [`Error::NotRunning`] once it has ended, [`Error::Gone`].
    pub async fn signal(&self, signal: i32) -> Result<(), Error> {
        self.send(signal, false).await
    }

    /// SIGKILL to the program and all of its process group: whatever it started and that did not part from it.
    ///
    /// # Errors
    /// As [`Exec::signal`].
    pub async fn kill(&self) -> Result<(), Error> {
        self.send(rustix::process::Signal::KILL.as_raw(), true).await
    }

    async fn send(&self, signal: i32, group: bool) -> Result<(), Error> {
        let call = Call::SignalExec {
            exec: self.number,
            signal,
            group,
        };
        self.sandbox
            .inner
            .connection
            .call(call, Vec::new())
            .await
            .map(drop)
    }

    /// The exit code, or 128 + the signal's number. `Gone` if the pod init ended. Cancel-safe; may be called again.
    pub async fn wait(&mut self) -> Result<i32, Error> {
        if let Some(code) = self.exited {
            return Ok(code);
        }
        let code = (&mut self.exit).await.map_err(|_| Error::Gone)?;
        self.exited = Some(code);
        Ok(code)
    }
}

/// A client of a container's standard streams, from now on. Dropping it detaches. All descriptors are non-blocking.
#[derive(Debug)]
pub struct Attachment {
    /// The write end, or the terminal; none if the container's input is /dev/null. Closing it does not end the container's
    /// input ([`Sandbox::close_stdin`] does): others may attach.
    pub stdin: Option<OwnedFd>,
    /// A copy of what the container writes. It ends early when the client is too slow: the container never waits.
    pub stdout: OwnedFd,
    /// None with a terminal.
    pub stderr: Option<OwnedFd>,
}

fn make_streams(spec: &ExecSpec, null: &OwnedFd) -> io::Result<(Streams, Vec<OwnedFd>)> {
    let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdin, their_stdin) = if spec.stdin {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        set_nonblocking(&write)?;
        (Some(write), read)
    } else {
        (None, null.try_clone()?)
    };
    set_nonblocking(&stdout)?;
    set_nonblocking(&stderr)?;
    Ok((
        Streams {
            stdin,
            stdout,
            stderr,
        },
        vec![their_stdin, their_stdout, their_stderr],
    ))
}

/// Of an end of a pipe, which the other end does not feel.
fn set_nonblocking(descriptor: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(descriptor, true)?)
}

fn unexpected() -> Error {
    Error::Init("it gave another answer than was asked for".to_owned())
}
