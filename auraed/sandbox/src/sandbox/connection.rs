//! The daemon's end of a pod init's socket.
//!
//! ```text
//!   callers ── queue, flush ──────────────────────────► socket ──► pod init
//!   callers ◄── oneshot ──┐
//!   Events  ◄── channel ──┴── the task of this file ◄── socket ◄── pod init
//! ```
//!
//! One task reads, and writes what a full socket left over. When the pod init ends, the task fails what waits with
//! [`Error::Gone`], waits for the end of the process (and so of all that was in its PID namespace), reaps it, and closes the
//! events.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use auraed_pod_init::protocol::{Call, Event, Failure, Message, Reply, Request};
use auraed_pod_init::wire::{Frame, Receiver, Sender};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Error, SandboxEvent};
use crate::sys;

/// A pod init whose socket is closed ends at once; one that hangs in the kernel is left alone after this.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A good answer and its descriptors.
pub(super) type Answer = (Reply, Vec<OwnedFd>);

/// What callers and the task share.
#[derive(Debug)]
pub(super) struct Connection {
    socket: UnixStream,
    state: Mutex<State>,
    unsent: Notify,
}

#[derive(Debug, Default)]
struct State {
    sender: Sender,
    next: u64,
    waiting: HashMap<u64, Waiting>,
    executing: HashMap<u64, oneshot::Sender<i32>>,
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<Answer, Error>>,
    /// For an exec: who is told of its exit.
    exit: Option<oneshot::Sender<i32>>,
}

impl Connection {
    /// Starts the task on a connected socket. `init` is the pod init's pidfd.
    pub(super) fn start(
        socket: std::os::unix::net::UnixStream,
        init: Arc<OwnedFd>,
    ) -> io::Result<(Arc<Self>, mpsc::UnboundedReceiver<SandboxEvent>, JoinHandle<()>)> {
        socket.set_nonblocking(true)?;
        let socket = UnixStream::from_std(socket)?;
        let connection = Arc::new(Self {
            socket,
            state: Mutex::default(),
            unsent: Notify::new(),
        });
        let (events, receiver) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(Arc::clone(&connection), init, events));
        Ok((connection, receiver, task))
    }

    /// Sends a call and waits for its answer.
    pub(super) async fn call(&self, call: Call, descriptors: Vec<OwnedFd>) -> Result<Answer, Error> {
        self.send(call, descriptors, None)?
            .await
            .map_err(|_| Error::Gone)?
    }

    /// Sends an exec; `exit` is told its exit code, if the answer is good.
    pub(super) async fn call_exec(
        &self,
        call: Call,
        descriptors: Vec<OwnedFd>,
        exit: oneshot::Sender<i32>,
    ) -> Result<Answer, Error> {
        self.send(call, descriptors, Some(exit))?
            .await
            .map_err(|_| Error::Gone)?
    }

    fn send(
        &self,
        call: Call,
        descriptors: Vec<OwnedFd>,
        exit: Option<oneshot::Sender<i32>>,
    ) -> Result<oneshot::Receiver<Result<Answer, Error>>, Error> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state();
        if state.closed {
            return Err(Error::Gone);
        }
        state.next += 1;
        let id = state.next;
        state
            .sender
            .push(&Request { id, call }, descriptors)
            .map_err(|error| Error::Refused(error.to_string()))?;
        state.waiting.insert(id, Waiting { answer, exit });
        // An error is the task's to see.
        if !matches!(state.sender.flush(&self.socket), Ok(true)) {
            self.unsent.notify_one();
        }
        Ok(receiver)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads and writes until the other end closes.
    async fn exchange(&self, events: &mpsc::UnboundedSender<SandboxEvent>) -> io::Result<()> {
        let mut receiver = Receiver::default();
        let mut interest = Interest::READABLE;
        loop {
            tokio::select! {
                ready = self.socket.ready(interest) => {
                    let ready = ready?;
                    if ready.is_writable() {
                        interest = self.flush()?;
                    }
                    if (ready.is_readable() || ready.is_read_closed()) && !self.read(&mut receiver, events)? {
                        return Ok(());
                    }
                }
                () = self.unsent.notified() => interest = Interest::READABLE | Interest::WRITABLE,
            }
        }
    }

    fn flush(&self) -> io::Result<Interest> {
        let empty = self.socket.try_io(Interest::WRITABLE, || {
            let mut state = self.state();
            match state.sender.flush(&self.socket)? {
                true => Ok(()),
                false => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match empty {
            Ok(()) => Ok(Interest::READABLE),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Interest::READABLE | Interest::WRITABLE)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes what is there. `false` at the end.
    fn read(
        &self,
        receiver: &mut Receiver,
        events: &mpsc::UnboundedSender<SandboxEvent>,
    ) -> io::Result<bool> {
        loop {
            let open = match self
                .socket
                .try_io(Interest::READABLE, || receiver.receive(&self.socket))
            {
                Ok(open) => open,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            while let Some(frame) = receiver.frame()? {
                self.take(frame, events)?;
            }
            if !open {
                return Ok(false);
            }
        }
    }

    fn take(&self, frame: Frame, events: &mpsc::UnboundedSender<SandboxEvent>) -> io::Result<()> {
        match frame.parse::<Message>()? {
            Message::Reply { id, .. } if frame.truncated => {
                let text = "the daemon has too many open files".to_owned();
                self.answer(id, Err(Failure::Failed(text)), Vec::new());
            }
            Message::Reply { id, result } => self.answer(id, result, frame.descriptors),
            Message::Event(Event::ExecExited { exec, exit_code }) => {
                if let Some(exit) = self.state().executing.remove(&exec) {
                    let _ = exit.send(exit_code);
                }
            }
            // Nobody may be listening any more.
            Message::Event(Event::Started(run)) => drop(events.send(SandboxEvent::Started(run))),
            Message::Event(Event::Exited(run)) => drop(events.send(SandboxEvent::Exited(run))),
            Message::Event(Event::LogRotated { container }) => {
                drop(events.send(SandboxEvent::LogRotated { container }));
            }
        }
        Ok(())
    }

    fn answer(&self, id: u64, result: Result<Reply, Failure>, descriptors: Vec<OwnedFd>) {
        let mut state = self.state();
        let Some(waiting) = state.waiting.remove(&id) else {
            return;
        };
        if let (Ok(Reply::Executing { exec }), Some(exit)) = (&result, waiting.exit) {
            state.executing.insert(*exec, exit);
        }
        // The caller may have stopped waiting; then the descriptors close here.
        let _ = waiting
            .answer
            .send(result.map(|reply| (reply, descriptors)).map_err(Error::from));
    }

    /// Lets everybody know that there will be no more answers.
    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
        state.executing.clear();
    }
}

async fn run(connection: Arc<Connection>, init: Arc<OwnedFd>, events: mpsc::UnboundedSender<SandboxEvent>) {
    if let Err(error) = connection.exchange(&events).await {
        tracing::debug!(%error, "a pod init's connection broke");
    }
    connection.close();
    if tokio::time::timeout(PATIENCE, wait_for_end(&init)).await.is_err() {
        tracing::warn!("a pod init closed its socket and did not end");
    }
    drop(events);
}

/// Waits until a process has ended, and reaps it if it is a child of this one.
pub(super) async fn wait_for_end(process: &OwnedFd) -> io::Result<()> {
    let watched = sys::watch(process.try_clone()?, Interest::READABLE)?;
    drop(watched.readable().await?);
    sys::reap(process);
    Ok(())
}

/// Whether a process has ended.
pub(super) fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    Ok(poll(&mut polled, Some(&at_once))? > 0)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotRunning => Self::NotRunning,
            Failure::AlreadyRunning => Self::AlreadyRunning,
            Failure::Refused(text) => Self::Refused(text),
            Failure::Failed(text) => Self::Init(text),
        }
    }
}
