//! The pod init's event loop and all that it owns.
//!
//! ```text
//!                    ┌── listener ───► connections ──► calls ──► containers, executions
//!   epoll ◄──────────┼── signals  ───► reap ───────────────────► exits ──► records, events
//!   (one thread)     ├── births   ───► answers to Start and Exec
//!                    └── outputs  ───► log, attached clients
//! ```
//!
//! Nothing here waits for anything but epoll: a container's start is a *birth*, which ends when its status socket closes;
//! a client that does not read is dropped. The pod ends with this process, and this process ends when the daemon says so
//! (or when the one that made it dies before it said what to be).

mod birth;
mod call;
mod connection;
mod container;
mod execution;
mod exit;
mod output;
mod pause;
mod pids;
mod poll;
mod removal;
mod setup;
mod users;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{DumpableBehavior, chdir, set_dumpable_behavior};

use self::connection::Connection;
use self::container::Slot;
use self::execution::Execution;
use self::pause::Pause;
use self::poll::{Poll, Token};
use self::removal::Removals;
use crate::protocol::Setup;
use crate::sys;

/// The daemon's first connection and the bound socket, as the daemon passes them.
const FIRST_CONNECTION: i32 = 3;
const LISTENER: i32 = 4;

/// Who asked, and under which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Requester {
    connection: u64,
    request: u64,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    /// Everything is told and nothing runs.
    End,
}

struct Init {
    poll: Poll,
    signals: OwnedFd,
    listener: OwnedFd,
    null: OwnedFd,
    /// Closed to take a connection for which there is no room.
    spare: Option<OwnedFd>,
    connections: BTreeMap<u64, Connection>,
    /// What the pod is; none until the daemon said so.
    setup: Option<Setup>,
    /// The user namespace that containers enter.
    users: Option<OwnedFd>,
    pause: Option<Pause>,
    /// In the order of their start.
    containers: Vec<Slot>,
    executions: Vec<Execution>,
    /// Numbers connections, containers and executions.
    serial: u64,
    /// Status calls that wait for births.
    status_waiters: Vec<Requester>,
    stopping: Option<Option<Requester>>,
    removals: Removals,
}

/// Runs a pod init on the descriptors that this process was started with. Returns its exit code.
pub(crate) fn run() -> i32 {
    match Init::new().and_then(Init::serve) {
        Ok(()) => 0,
        Err(error) => {
            // The daemon may have given us a log file.
            let text = format!("pod init ends: {error}\n");
            let _ = rustix::io::write(sys::kept(2), text.as_bytes());
            1
        }
    }
}

impl Init {
    fn new() -> io::Result<Self> {
        let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let first = take(FIRST_CONNECTION, &null)?;
        let listener = take(LISTENER, &null)?;
        // What other processes of the pod may share our PID namespace cannot look into us, nor into our new children.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        rustix::thread::set_name(c"aurae-pod-init")?;
        chdir("/")?;
        let mut init = Self {
            poll: Poll::new()?,
            signals: sys::signal_descriptor(&[libc::SIGCHLD, libc::SIGTERM])?,
            listener,
            spare: null.try_clone().ok(),
            null,
            connections: BTreeMap::new(),
            setup: None,
            users: None,
            pause: None,
            containers: Vec::new(),
            executions: Vec::new(),
            serial: 0,
            status_waiters: Vec::new(),
            stopping: None,
            removals: Removals::default(),
        };
        init.poll.add(&init.signals, Token::Signals)?;
        init.add_connection(first, true)?;
        Ok(init)
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            for token in self.poll.wait()? {
                if self.handle(token)? == Flow::End {
                    return Ok(());
                }
            }
        }
    }

    fn handle(&mut self, token: Token) -> io::Result<Flow> {
        match token {
            Token::Listener => self.accept(),
            Token::Signals => self.take_signals(),
            Token::Cgroups => self.removals.retry(&self.poll),
            Token::Connection(serial) => return self.serve_connection(serial),
            Token::Birth(serial) => self.read_birth(serial),
            Token::Output(serial, index) => self.read_output(serial, index),
        }
        Ok(self.flow())
    }

    /// Whether a shutdown is complete.
    fn flow(&mut self) -> Flow {
        let Some(requester) = self.stopping else {
            return Flow::Continue;
        };
        if self.containers.iter().any(|slot| slot.live().is_some()) {
            return Flow::Continue;
        }
        if let Some(requester) = requester {
            self.reply(requester, Ok(crate::protocol::Reply::Done), Vec::new());
        }
        Flow::End
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn take_signals(&mut self) {
        while let Some((signal, sender)) = sys::next_signal(&self.signals) {
            let from_outside = sender == 0 || rustix::process::getpid().as_raw_nonzero().get() != 1;
            if signal == libc::SIGTERM && from_outside {
                self.shut_down(None);
            }
        }
        self.reap();
    }
}

/// Takes an inherited descriptor away from its low number, which is kept occupied: new processes put their streams
/// there, over nothing of value.
fn take(number: i32, null: &OwnedFd) -> io::Result<OwnedFd> {
    let low = sys::inherited(number)?;
    let high = rustix::io::fcntl_dupfd_cloexec(&low, LISTENER + 1)?;
    sys::occupy(low, null)?;
    Ok(high)
}
