//! A process between its fork and its program.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;

use super::container::Slot;
use super::poll::Poll;
use super::{Init, Requester, Token};
use crate::child::Progress;
use crate::fault::{Blame, Fault, Result};
use crate::protocol::ResolvedUser;
use crate::wire::Receiver;

/// How a birth stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The process still prepares.
    Pending,
    /// The program was executed.
    Born,
    /// It was not, and the process has ended or is about to.
    Failed,
}

pub(super) struct Birth {
    /// Who is answered when it is over.
    pub(super) requester: Requester,
    /// None once it has ended.
    status: Option<OwnedFd>,
    receiver: Receiver,
    /// The forked process.
    pub(super) forked: Pid,
    /// The process that becomes the program, once it is known.
    pub(super) main: Option<Pid>,
    /// The terminal's controlling end, until somebody takes it.
    pub(super) terminal: Option<OwnedFd>,
    pub(super) warnings: Vec<String>,
    pub(super) user: Option<ResolvedUser>,
    fault: Option<Fault>,
    executing: bool,
}

/// Both ends of a status socket: ours does not block.
pub(super) fn status_pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .blame_node("make a socket pair")
}

impl Birth {
    /// Begins to watch the process. `splits`: the forked process only prepares, and another one becomes the program.
    pub(super) fn watch(
        poll: &Poll,
        serial: u64,
        requester: Requester,
        status: OwnedFd,
        (forked, splits): (Pid, bool),
    ) -> Result<Self> {
        poll.add(&status, Token::Birth(serial))
            .blame_node("watch a start")?;
        Ok(Self {
            requester,
            status: Some(status),
            receiver: Receiver::default(),
            forked,
            main: (!splits).then_some(forked),
            terminal: None,
            warnings: Vec::new(),
            user: None,
            fault: None,
            executing: false,
        })
    }

    /// Reads what the process has told so far.
    pub(super) fn advance(&mut self, poll: &Poll) -> Stage {
        while let Some(status) = &self.status {
            let open = match self.receiver.receive(status) {
                Ok(open) => open,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => false,
            };
            if !open {
                poll.remove(status);
                self.status = None;
            }
            while let Ok(Some(frame)) = self.receiver.frame() {
                if let Ok(progress) = frame.parse() {
                    self.note(progress, frame.descriptors);
                }
            }
        }
        match (&self.status, &self.fault, self.executing) {
            (Some(_), ..) => Stage::Pending,
            (None, None, true) => Stage::Born,
            (None, ..) => Stage::Failed,
        }
    }

    fn note(&mut self, progress: Progress, mut descriptors: Vec<OwnedFd>) {
        match progress {
            Progress::Process(pid) => self.main = Pid::from_raw(pid),
            Progress::Terminal => self.terminal = descriptors.pop(),
            Progress::Warning(text) => self.warnings.push(text),
            Progress::Executing(user) => {
                self.user = Some(user);
                self.executing = true;
            }
            Progress::Fault(fault) => self.fault = Some(fault),
        }
    }

    /// Why it failed.
    pub(super) fn fault(&mut self) -> Fault {
        let unknown = || Fault::Node("the process ended before its program was executed".to_owned());
        self.fault.take().unwrap_or_else(unknown)
    }
}

impl Init {
    /// A birth's status socket has news.
    pub(super) fn read_birth(&mut self, serial: u64) {
        if self
            .containers
            .iter()
            .any(|slot| slot.live().is_some_and(|live| live.serial == serial))
        {
            self.advance_container(serial);
        } else {
            self.advance_execution(serial);
        }
    }

    /// Reads the news of all births, so that the ids of all processes are known.
    pub(super) fn read_births(&mut self) {
        let live = self.containers.iter().filter_map(Slot::live);
        let containers = live.filter(|live| live.birth.is_some());
        let containers: Vec<u64> = containers.map(|live| live.serial).collect();
        let executions = self
            .executions
            .iter()
            .filter(|execution| execution.birth.is_some());
        let executions: Vec<u64> = executions.map(|execution| execution.serial).collect();
        containers
            .into_iter()
            .for_each(|serial| self.advance_container(serial));
        executions
            .into_iter()
            .for_each(|serial| self.advance_execution(serial));
    }
}
