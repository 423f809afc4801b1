//! Containers: how one is started, and what the pod init keeps of it.
//!
//! ```text
//!   Start ─► birth ──► born ─► running ─► main process ends ─► over (until the next attempt)
//!              └─────► failed ─► forked process ends ─► gone
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::SystemTime;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::birth::{Birth, Stage, status_pair};
use super::output::Output;
use super::pids::{self, Namespace};
use super::poll::Poll;
use super::{Init, Requester, Token};
use crate::cgroup;
use crate::child::{self, Passed, Start, Streams};
use crate::fault::{Blame, Fault, Result};
use crate::log::Log;
use crate::protocol::{Container, ContainerRun, Event, Failure, Reply, ResolvedUser, RunState};
use crate::sys::{self, Instruction, namespaces};

/// A container's name and its newest run.
pub(super) enum Slot {
    Live(Box<Live>),
    Over(ContainerRun),
}

/// A run that is not over.
pub(super) struct Live {
    pub(super) serial: u64,
    pub(super) spec: Container,
    pub(super) filter: Rc<[Instruction]>,
    /// Until the program is executed.
    pub(super) birth: Option<Birth>,
    pub(super) main: Option<Pid>,
    /// Its processes are in a PID namespace of its own, so that the kernel ends them all with the main one.
    pub(super) own_pids: bool,
    /// The main process as the daemon sees it, once its program runs.
    pub(super) host_pid: Option<u32>,
    pub(super) started_at: SystemTime,
    /// Who the program runs as, once that is known.
    pub(super) user: Option<ResolvedUser>,
    pub(super) log: Log,
    /// stdout or the terminal, then stderr.
    pub(super) outputs: [Output; 2],
    /// The write end of stdin, or the terminal.
    pub(super) input: Option<OwnedFd>,
}

impl Slot {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Live(live) => &live.spec.name,
            Self::Over(run) => &run.name,
        }
    }

    pub(super) fn live(&self) -> Option<&Live> {
        match self {
            Self::Live(live) => Some(live),
            Self::Over(_) => None,
        }
    }

    pub(super) fn run(&self) -> ContainerRun {
        match self {
            Self::Live(live) => live.run(RunState::Running {
                started_at: live.started_at,
            }),
            Self::Over(run) => run.clone(),
        }
    }
}

impl Live {
    /// Its process, which is not reaped yet. One that only prepares has ended, or is about to, once the other one is known.
    pub(super) fn process(&self) -> Option<Pid> {
        self.main
            .or_else(|| self.birth.as_ref().map(|birth| birth.forked))
    }

    pub(super) fn run(&self, state: RunState) -> ContainerRun {
        let Container {
            name, attempt, id, ..
        } = &self.spec;
        ContainerRun {
            name: name.clone(),
            attempt: *attempt,
            id: id.clone(),
            user: self.user.clone(),
            pid: self
                .host_pid
                .filter(|_| matches!(state, RunState::Running { .. })),
            state,
        }
    }
}

/// The child's ends of a container's standard streams.
struct Pipes {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Pipes {
    fn or<'a>(&'a self, null: &'a OwnedFd) -> [BorrowedFd<'a>; 3] {
        [&self.stdin, &self.stdout, &self.stderr].map(|pipe| pipe.as_ref().unwrap_or(null).as_fd())
    }
}

impl Init {
    /// A running container by its name.
    pub(super) fn running(&mut self, name: &str) -> Option<&mut Live> {
        self.containers.iter_mut().find_map(|slot| match slot {
            Slot::Live(live) if live.spec.name == name && live.birth.is_none() => Some(&mut **live),
            _ => None,
        })
    }

    /// Starts a container; the answer comes when its birth is over.
    pub(super) fn start(&mut self, requester: Requester, spec: Container, passed: Vec<OwnedFd>) {
        match self.containers.iter().find(|slot| slot.name() == spec.name) {
            Some(Slot::Live(live)) if live.spec.id == spec.id && live.birth.is_none() => {
                let run = live.run(RunState::Running {
                    started_at: live.started_at,
                });
                return self.reply(
                    requester,
                    Ok(Reply::Started {
                        run,
                        warnings: Vec::new(),
                    }),
                    Vec::new(),
                );
            }
            Some(Slot::Live(_)) => return self.reply(requester, Err(Failure::AlreadyRunning), Vec::new()),
            Some(Slot::Over(_)) | None => {}
        }
        // It is wanted again.
        self.removals.forget(&spec.cgroups, &self.poll);
        match self.try_start(requester, spec, passed) {
            Ok(live) => {
                self.containers.retain(|slot| slot.name() != live.spec.name);
                self.containers.push(Slot::Live(Box::new(live)));
            }
            Err(fault) => self.reply(requester, Err(fault.into()), Vec::new()),
        }
    }

    fn try_start(&mut self, requester: Requester, spec: Container, mut passed: Vec<OwnedFd>) -> Result<Live> {
        let serial = self.next_serial();
        let setup = self
            .setup
            .as_ref()
            .ok_or_else(|| Fault::Node("the pod is not set up".to_owned()))?;
        let pids = self.pid_namespace(&spec, setup.pids)?;
        let filter = self.filter(&spec.process.seccomp)?;
        let root = if spec.made_root { passed.pop() } else { None };
        if root.is_some() != spec.made_root || (root.is_some() && setup.users.is_some()) {
            return Err(Fault::Node("the root did not arrive as it should".to_owned()));
        }
        let directory = if spec.log_directory { passed.pop() } else { None };
        let log = Log::open(&spec.log_path, directory, setup.log)
            .blame_node(format_args!("open the log {}", spec.log_path.display()))?;
        let (mut live, pipes) = prepare(serial, spec, filter, log)?;
        for (index, output) in live.outputs.iter().enumerate() {
            output
                .watch(&self.poll, Token::Output(serial, index))
                .blame_node("watch the output")?;
        }
        let (near, far) = status_pair()?;
        let splits = pids.to_join().is_some();
        let birth = match self.fork(
            &live,
            &pids,
            (&pipes, far.as_fd()),
            Passed { root, mounts: passed },
        ) {
            Ok(forked) => Birth::watch(&self.poll, serial, requester, near, (forked, splits))?,
            Err(fault) => {
                live.outputs
                    .iter_mut()
                    .for_each(|output| output.close(&self.poll));
                return Err(fault);
            }
        };
        live.main = birth.main;
        live.own_pids = pids.is_own();
        live.birth = Some(birth);
        Ok(live)
    }

    fn fork(
        &self,
        live: &Live,
        pids: &Namespace,
        (pipes, status): (&Pipes, BorrowedFd<'_>),
        passed: Passed,
    ) -> Result<Pid> {
        let cgroup = cgroup::open_unified(&live.spec.cgroups).blame_node("open the cgroup")?;
        let own = if pids.is_own() { namespaces::PID } else { 0 };
        let forked = sys::fork(namespaces::MOUNT | own, cgroup.as_ref().map(AsFd::as_fd));
        if let Some(forked) = forked.blame_node("fork")? {
            return Ok(forked);
        }
        let start = Start {
            container: &live.spec,
            filter: &live.filter,
            streams: Streams {
                standard: pipes.or(&self.null),
                status,
            },
            shm: self.setup.as_ref().and_then(|setup| setup.shm.as_deref()),
            pids: pids.to_join(),
            users: self.users(),
        };
        child::start(&start, passed)
    }

    /// Decodes a filter, or finds a container's that has the same.
    fn filter(&self, text: &str) -> Result<Rc<[Instruction]>> {
        let mut live = self.containers.iter().filter_map(Slot::live);
        match live.find(|live| live.spec.process.seccomp == text) {
            Some(live) => Ok(Rc::clone(&live.filter)),
            None => decode(text).ok_or_else(|| Fault::Node("the system call filter is malformed".to_owned())),
        }
    }

    /// Goes on with a start as far as its process has come.
    pub(super) fn advance_container(&mut self, serial: u64) {
        let poll = &self.poll;
        let Some(live) = live_of(&mut self.containers, serial) else {
            return;
        };
        let Some(birth) = &mut live.birth else { return };
        let stage = birth.advance(poll);
        live.main = birth.main;
        // A failed one is told of when its process has ended.
        if stage == Stage::Born
            && let Some(birth) = live.birth.take()
        {
            self.container_born(serial, birth);
        }
    }

    fn container_born(&mut self, serial: u64, mut birth: Birth) {
        let Some(live) = live_of(&mut self.containers, serial) else {
            return;
        };
        live.started_at = SystemTime::now();
        live.user = birth.user.take();
        live.host_pid = live.main.and_then(pids::host_pid);
        if let Some(terminal) = birth.terminal.take() {
            live.adopt_terminal(terminal, &self.poll);
        }
        let run = live.run(RunState::Running {
            started_at: live.started_at,
        });
        self.tell(Event::Started(run.clone()));
        self.reply(
            birth.requester,
            Ok(Reply::Started {
                run,
                warnings: birth.warnings,
            }),
            Vec::new(),
        );
        self.answer_status();
    }
}

impl Live {
    /// Reads a terminal as the container's output from now on.
    fn adopt_terminal(&mut self, terminal: OwnedFd, poll: &Poll) {
        // It can only fail for want of memory; the container runs on without a log then.
        if rustix::io::ioctl_fionbio(&terminal, true).is_ok() {
            self.input = terminal.try_clone().ok();
            self.outputs[0] = Output::new("stdout", Some(terminal));
            let _ = self.outputs[0].watch(poll, Token::Output(self.serial, 0));
        }
    }
}

pub(super) fn live_of(containers: &mut [Slot], serial: u64) -> Option<&mut Live> {
    containers.iter_mut().find_map(|slot| match slot {
        Slot::Live(live) if live.serial == serial => Some(&mut **live),
        _ => None,
    })
}

/// Makes the pipes of a container without a terminal.
fn prepare(serial: u64, spec: Container, filter: Rc<[Instruction]>, log: Log) -> Result<(Live, Pipes)> {
    let mut pipes = Pipes {
        stdin: None,
        stdout: None,
        stderr: None,
    };
    let mut outputs = [Output::new("stdout", None), Output::new("stderr", None)];
    let mut input = None;
    if spec.process.terminal.is_none() {
        let (read, write) = output_pipe()?;
        (outputs[0], pipes.stdout) = (Output::new("stdout", Some(read)), Some(write));
        let (read, write) = output_pipe()?;
        (outputs[1], pipes.stderr) = (Output::new("stderr", Some(read)), Some(write));
        if spec.stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).blame_node("make a pipe")?;
            (input, pipes.stdin) = (Some(write), Some(read));
        }
    }
    let started_at = SystemTime::now();
    Ok((
        Live {
            serial,
            spec,
            filter,
            birth: None,
            main: None,
            own_pids: false,
            host_pid: None,
            started_at,
            user: None,
            log,
            outputs,
            input,
        },
        pipes,
    ))
}

/// A pipe whose read end does not block.
fn output_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).blame_node("make a pipe")?;
    rustix::io::ioctl_fionbio(&read, true).blame_node("make a pipe")?;
    Ok((read, write))
}

/// Sixteen hexadecimal digits an instruction.
fn decode(text: &str) -> Option<Rc<[Instruction]>> {
    let (instructions, []) = text.as_bytes().as_chunks::<16>() else {
        return None;
    };
    instructions
        .iter()
        .map(|digits| {
            u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16)
                .ok()
                .map(u64::to_be_bytes)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_decoded_or_refused() {
        assert_eq!(
            *decode("0102030405060708ffffffffffffffff").unwrap(),
            [[1, 2, 3, 4, 5, 6, 7, 8], [255; 8]]
        );
        assert!(decode("").unwrap().is_empty());
        assert!(decode("0102").is_none());
        assert!(decode("01020304050607zz").is_none());
    }
}
