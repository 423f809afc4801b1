//! Programs beside a container's own (exec). They live as long as they like, at most as long as their container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::birth::{Birth, Stage, status_pair};
use super::container::Live;
use super::{Init, Requester};
use crate::cgroup;
use crate::child::{self, Entry, Streams};
use crate::fault::{Blame, Fault, Result};
use crate::protocol::{Exec, Failure, Reply};
use crate::sys;

pub(super) struct Execution {
    /// Also its number in the protocol.
    pub(super) serial: u64,
    pub(super) requester: Requester,
    pub(super) birth: Option<Birth>,
    pub(super) main: Option<Pid>,
}

impl Init {
    /// Runs a program in a container; the answer comes when its birth is over.
    pub(super) fn execute(
        &mut self,
        requester: Requester,
        container: &str,
        exec: &Exec,
        streams: Vec<OwnedFd>,
    ) {
        let serial = self.next_serial();
        if self.running(container).is_none() {
            return self.reply(requester, Err(Failure::NotRunning), Vec::new());
        }
        match self.try_execute(serial, requester, container, exec, &streams) {
            Ok(birth) => {
                self.executions.push(Execution {
                    serial,
                    requester,
                    main: birth.main,
                    birth: Some(birth),
                });
            }
            Err(fault) => self.reply(requester, Err(fault.into()), Vec::new()),
        }
    }

    fn try_execute(
        &self,
        serial: u64,
        requester: Requester,
        container: &str,
        exec: &Exec,
        streams: &[OwnedFd],
    ) -> Result<Birth> {
        let mut running = self.containers.iter().filter_map(super::Slot::live);
        let live = running.find(|live| live.spec.name == container);
        let live = live.ok_or_else(|| Fault::Node("the container is gone".to_owned()))?;
        let null = self.null.as_fd();
        let standard = match streams {
            [stdin, stdout, stderr] => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
            [] => [null; 3],
            _ => return Err(Fault::Node("an exec needs three streams or none".to_owned())),
        };
        let (near, far) = status_pair()?;
        let forked = self.fork_into(live, exec, standard, far.as_fd())?;
        Birth::watch(&self.poll, serial, requester, near, (forked, true))
    }

    fn fork_into(
        &self,
        live: &Live,
        exec: &Exec,
        standard: [BorrowedFd<'_>; 3],
        status: BorrowedFd<'_>,
    ) -> Result<Pid> {
        let gone = || Fault::Node("the container is gone".to_owned());
        // It is not reaped, so that the number is still its.
        let handle =
            pidfd_open(live.main.ok_or_else(gone)?, PidfdFlags::empty()).blame_node("find the container")?;
        let cgroup = cgroup::open_unified(&live.spec.cgroups).blame_node("open the cgroup")?;
        let forked = sys::fork(0, cgroup.as_ref().map(AsFd::as_fd)).blame_node("fork")?;
        if let Some(forked) = forked {
            return Ok(forked);
        }
        let entry = Entry {
            exec,
            process: &live.spec.process,
            cgroups: &live.spec.cgroups,
            filter: &live.filter,
            streams: Streams { standard, status },
            container: handle.as_fd(),
            users: self.users(),
        };
        child::enter(&entry)
    }

    /// Goes on with a start as far as its process has come.
    pub(super) fn advance_execution(&mut self, serial: u64) {
        let poll = &self.poll;
        let Some(execution) = self
            .executions
            .iter_mut()
            .find(|execution| execution.serial == serial)
        else {
            return;
        };
        let Some(birth) = &mut execution.birth else { return };
        let stage = birth.advance(poll);
        execution.main = birth.main;
        // A failed one is told of when its process has ended.
        if stage == Stage::Born
            && let Some(mut birth) = execution.birth.take()
        {
            let terminal = birth.terminal.take().into_iter().collect();
            self.reply(birth.requester, Ok(Reply::Executing { exec: serial }), terminal);
        }
    }

    /// The process of a running execution.
    pub(super) fn execution(&self, serial: u64) -> std::result::Result<Pid, Failure> {
        let execution = self
            .executions
            .iter()
            .find(|execution| execution.serial == serial);
        execution
            .and_then(|execution| execution.main)
            .ok_or(Failure::NotRunning)
    }
}
